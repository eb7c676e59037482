-- A sequence, because a rollback undoes no step of it.
CREATE SEQUENCE public.inserts MINVALUE 0 START 0;
SELECT nextval('public.inserts');
CREATE FUNCTION public.count_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('public.inserts');
    RETURN NULL;
END $$;
