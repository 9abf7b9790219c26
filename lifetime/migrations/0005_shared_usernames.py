"""People and service accounts share their usernames, whoever writes them."""

from django.db import migrations

CREATE = """
CREATE FUNCTION lifetime_refuse_taken_username() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    taken boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('username ' || upper(NEW.username), 0));
    IF TG_TABLE_NAME = 'lifetime_user' THEN
        taken := EXISTS (SELECT FROM lifetime_serviceaccount WHERE upper(username) = upper(NEW.username));
    ELSE
        taken := EXISTS (SELECT FROM lifetime_user WHERE upper(username) = upper(NEW.username));
    END IF;
    IF taken THEN
        RAISE EXCEPTION 'the username % is taken', NEW.username
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'username_unique_among_people_and_service_accounts';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER user_username_taken BEFORE INSERT OR UPDATE OF username ON lifetime_user
FOR EACH ROW EXECUTE FUNCTION lifetime_refuse_taken_username();

CREATE TRIGGER service_account_username_taken BEFORE INSERT OR UPDATE OF username ON lifetime_serviceaccount
FOR EACH ROW EXECUTE FUNCTION lifetime_refuse_taken_username();
"""
DROP = """
DROP TRIGGER service_account_username_taken ON lifetime_serviceaccount;
DROP TRIGGER user_username_taken ON lifetime_user;
DROP FUNCTION lifetime_refuse_taken_username();
"""


class Migration(migrations.Migration):
    dependencies = [("lifetime", "0004_levels_teams_service_accounts")]

    operations = [migrations.RunSQL(CREATE, DROP)]
