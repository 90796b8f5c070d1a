-- Functions that fooled a reading of their text, and two tables; on top of schema.sql.
BEGIN;
SET LOCAL search_path = app, public;
CREATE OR REPLACE FUNCTION app.greet(email text) RETURNS text LANGUAGE sql STABLE
  AS $$ select email from app.customers order by id limit 1 $$;
CREATE OR REPLACE FUNCTION app.dflt(x text DEFAULT app.customer_email(1)) RETURNS text LANGUAGE sql STABLE
  AS $$ select x $$;
CREATE OR REPLACE FUNCTION app.pathy() RETURNS text LANGUAGE sql STABLE SET search_path = app
  AS $$ select full_name from customers order by id limit 1 $$;
CREATE TABLE IF NOT EXISTS public.people_pub (id int, full_name text);
GRANT SELECT ON public.people_pub TO hoop_agent;
GRANT SELECT (id) ON public.people_pub TO hoop_clean;
COMMIT;
