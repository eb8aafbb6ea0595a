"""When: keys, due times, lanes, fairness. Knows neither Kubernetes nor PostgreSQL."""
