"""`make demo`: one CipherStorage on real servers, from apply to Ready, then broken and mended."""
