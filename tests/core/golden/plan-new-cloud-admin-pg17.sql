CREATE ROLE "app_owner" NOLOGIN;
COMMENT ON ROLE "app_owner" IS '{"v":1,"instance":"instance-1","ns":"team","name":"chat","uid":"uid-1","db":"cipher_db","schema":"public","created":["database","login","owner"],"rev":1}';
GRANT "app_owner" TO "cloud_admin" WITH INHERIT TRUE, SET TRUE;
CREATE ROLE "app" LOGIN PASSWORD '***' CONNECTION LIMIT -1 IN ROLE "app_owner";
ALTER ROLE "app" SET role = 'app_owner';
CREATE DATABASE "cipher_db" OWNER "cloud_admin" TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C';
GRANT ALL ON DATABASE "cipher_db" TO "app_owner";
REVOKE CONNECT, TEMPORARY ON DATABASE "cipher_db" FROM PUBLIC;
ALTER ROLE "app" IN DATABASE "cipher_db" SET search_path = "public";
