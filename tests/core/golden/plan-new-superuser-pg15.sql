CREATE ROLE "app_owner" NOLOGIN;
COMMENT ON ROLE "app_owner" IS '{"v":1,"instance":"instance-1","ns":"team","name":"chat","uid":"uid-1","db":"cipher_db","schema":"public","created":["database","login","owner"],"rev":1}';
CREATE ROLE "app" LOGIN PASSWORD '***' CONNECTION LIMIT -1 IN ROLE "app_owner";
ALTER ROLE "app" SET role = 'app_owner';
CREATE DATABASE "cipher_db" OWNER "postgres" TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' CONNECTION LIMIT 1227463937;
ALTER DATABASE "cipher_db" CONNECTION LIMIT -1;
GRANT ALL ON DATABASE "cipher_db" TO "app_owner";
REVOKE CONNECT, TEMPORARY ON DATABASE "cipher_db" FROM PUBLIC;
ALTER ROLE "app" IN DATABASE "cipher_db" SET search_path = "public";
