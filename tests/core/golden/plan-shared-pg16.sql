SET LOCAL ROLE "cloud_admin";
CREATE TABLE "public"."cipher_store" ("key" text NOT NULL, "value" text NOT NULL, "created_at" timestamp with time zone NOT NULL, "updated_at" timestamp with time zone NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE "public"."cipher_lists" ("key" text NOT NULL, "value" text NOT NULL, "position" integer NOT NULL, "created_at" timestamp with time zone NOT NULL, PRIMARY KEY ("key", "position"));
CREATE TABLE "public"."cipher_list_metadata" ("key" text NOT NULL, "count" integer NOT NULL DEFAULT 0, "created_at" timestamp with time zone NOT NULL, "updated_at" timestamp with time zone NOT NULL, PRIMARY KEY ("key"));
CREATE INDEX "idx_cipher_store_updated_at" ON "public"."cipher_store" USING btree ("updated_at");
CREATE INDEX "idx_cipher_lists_key" ON "public"."cipher_lists" USING btree ("key");
CREATE INDEX "idx_cipher_lists_created_at" ON "public"."cipher_lists" USING btree ("created_at");
SET LOCAL ROLE NONE;
COMMENT ON TABLE "public"."cipher_store" IS '{"v":1,"instance":"instance-1","ns":"team","name":"chat","uid":"uid-1","db":"cipher_db","schema":"public","created":["cipher_list_metadata","cipher_lists","cipher_store"],"rev":0}';
