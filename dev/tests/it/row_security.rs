//! What the database lets the services see: checked from its catalogue, so that a new table cannot be forgotten, and by
//! trying.

use common::database;
use common::domain::BusinessId;
use dev::testing::Platform;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::tenancy::two_tenants;

/// Tables of the platform itself, which have nothing of any business.
const PLATFORM_TABLES: [&str; 3] = ["_sqlx_migrations", "plans", "queue_pauses"];

/// Tables of people, who belong to no business: forced row-level security, and nothing but a user's own rows.
const USER_TABLES: [&str; 6] = [
    "email_proofs",
    "phone_codes",
    "refresh_tokens",
    "sessions",
    "user_identities",
    "users",
];

/// A table whose rows belong to businesses, and the column that says to which.
struct TenantTable {
    name: String,
    column: String,
}

/// Every relation that has rows of businesses.
const TENANT_RELATIONS: &str = "
    SELECT class.oid, class.relname::text AS name, class.relkind, class.relrowsecurity, class.relforcerowsecurity,
        CASE class.relname WHEN 'businesses' THEN 'id' ELSE 'business_id' END AS tenant_column
    FROM pg_class AS class
    WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'p', 'f', 'v', 'm')
      AND (class.relname = 'businesses' OR EXISTS (
          SELECT FROM pg_attribute
          WHERE attrelid = class.oid AND attname = 'business_id' AND NOT attisdropped
      ))";

/// What lets a user see the businesses they are in, as PostgreSQL prints it.
const BUSINESSES_OF_A_USER: &str = "E'((( SELECT current_user_id() AS current_user_id) IS NOT NULL) AND (EXISTS ( SELECT\n   FROM \
     memberships\n  WHERE ((memberships.business_id = businesses.id) AND (memberships.user_id = ( SELECT current_user_id() AS \
     current_user_id))))))'";

async fn tenant_tables(conn: &mut PgConnection) -> Vec<TenantTable> {
    let query =
        format!("SELECT name, tenant_column FROM ({TENANT_RELATIONS}) AS relations ORDER BY name");
    let rows = sqlx::query(AssertSqlSafe(query))
        .fetch_all(conn)
        .await
        .unwrap();
    rows.into_iter()
        .map(|row| TenantTable {
            name: row.get(0),
            column: row.get(1),
        })
        .collect()
}

/// What is wrong with the protection of any table that has rows of businesses; nothing, if all is well.
async fn unprotected(conn: &mut PgConnection) -> Vec<String> {
    let query = format!(
        r"
        WITH relations AS ({TENANT_RELATIONS}),
        -- What applies to the services; `own` where it lets through the rows of the business that is set, and no others.
        policies AS (
            SELECT polrelid, polcmd, polpermissive,
                pg_get_expr(polqual, polrelid) ~ own AND pg_get_expr(polwithcheck, polrelid) ~ own AS own,
                polcmd = 'r' AND pg_get_expr(polqual, polrelid) = ANY (CASE name
                    WHEN 'characters' THEN ARRAY['(business_id IS NULL)']
                    -- A user's own memberships, and the businesses they are in.
                    WHEN 'memberships' THEN ARRAY['(user_id = ( SELECT current_user_id() AS current_user_id))']
                    WHEN 'businesses' THEN ARRAY[{BUSINESSES_OF_A_USER}]
                END) AS shared
            FROM pg_policy
            JOIN relations ON polrelid = relations.oid,
            LATERAL (SELECT format('^\(%I = \( SELECT current_business\(\) AS current_business\)\)$', tenant_column) AS own) AS pattern
            WHERE 0 = ANY (polroles) OR 'relais_app'::regrole = ANY (polroles)
        )
        SELECT name || ': is no table' FROM relations WHERE relkind NOT IN ('r', 'p')
        UNION ALL
        SELECT name || ': row-level security is off' FROM relations WHERE NOT relrowsecurity
        UNION ALL
        SELECT name || ': row-level security is not forced' FROM relations WHERE NOT relforcerowsecurity
        UNION ALL
        SELECT name || ': no policy reads the business that is set' FROM relations
        WHERE NOT EXISTS (SELECT FROM policies WHERE polrelid = oid AND polcmd = '*' AND own)
        UNION ALL
        SELECT name || ': a policy lets others through' FROM relations
        WHERE EXISTS (SELECT FROM policies WHERE polrelid = oid AND polpermissive AND own IS NOT TRUE AND shared IS NOT TRUE)
        UNION ALL
        SELECT name || ': the services may truncate it' FROM relations
        WHERE has_table_privilege('relais_app', oid, 'TRUNCATE')
        "
    );
    sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_all(conn)
        .await
        .unwrap()
}

/// Whether a table of people is under forced row-level security that lets the services see a user's own rows, and a
/// business its members, and nothing else.
async fn user_table_is_protected(conn: &mut PgConnection, table: &str) -> Result<(), String> {
    let forced: bool = sqlx::query_scalar(
        "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = $1::regclass",
    )
    .bind(table)
    .fetch_one(&mut *conn)
    .await
    .unwrap();
    if !forced {
        return Err("row-level security is not forced".to_owned());
    }
    let column = if table == "users" { "id" } else { "user_id" };
    let own = format!("({column} = ( SELECT current_user_id() AS current_user_id))");
    let policies: Vec<(String, String)> = sqlx::query_as(
        "SELECT polname::text, pg_get_expr(polqual, polrelid) FROM pg_policy
         WHERE polrelid = $1::regclass AND (0 = ANY (polroles) OR 'relais_app'::regrole = ANY (polroles))",
    )
    .bind(table)
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    let colleagues = |name: &str, seen: &str| {
        table == "users"
            && name == "colleague"
            && seen.contains("memberships.business_id = ( SELECT current_business()")
    };
    match policies
        .iter()
        .find(|(name, seen)| *seen != own && !colleagues(name, seen))
    {
        Some((name, seen)) => Err(format!("the policy `{name}` lets through {seen}")),
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_of_businesses_is_protected_and_one_that_is_not_would_be_found() {
    let (platform, ..) = two_tenants().await;
    let mut owner = platform.owner.acquire().await.unwrap();

    assert_eq!(unprotected(&mut owner).await, Vec::<String>::new());
    let tables = tenant_tables(&mut owner).await;
    assert!(
        tables
            .iter()
            .filter(|table| table.name.starts_with("vectors_"))
            .count()
            == 2,
        "the indexes' own tables too"
    );
    let others: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT relname::text FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'f', 'v', 'm')
           AND oid NOT IN (SELECT oid FROM ({TENANT_RELATIONS}) AS relations)
         ORDER BY 1"
    )))
    .fetch_all(&mut *owner)
    .await
    .unwrap();
    let mut listed = [&PLATFORM_TABLES[..], &USER_TABLES[..]].concat();
    listed.sort_unstable();
    assert_eq!(
        others, listed,
        "a table is a business's, with `business_id`, or a user's or the platform's, and listed here"
    );
    for table in USER_TABLES {
        assert_eq!(
            user_table_is_protected(&mut owner, table).await,
            Ok(()),
            "{table}"
        );
    }
    let reads: String =
        sqlx::query_scalar("SELECT pg_get_functiondef('current_business'::regproc)")
            .fetch_one(&mut *owner)
            .await
            .unwrap();
    assert!(
        reads.contains("current_setting('relais.business_id'") && reads.contains(" STABLE"),
        "{reads}"
    );

    let table = "CREATE TABLE planted (business_id uuid NOT NULL, note text); GRANT ALL ON planted TO relais_app;
                 REVOKE TRUNCATE ON planted FROM relais_app;";
    let on = "ALTER TABLE planted ENABLE ROW LEVEL SECURITY;";
    let forced = "ALTER TABLE planted ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;";
    let own = "business_id = (SELECT current_business())";
    let policy =
        format!("CREATE POLICY tenant ON planted TO relais_app USING ({own}) WITH CHECK ({own});");
    for (planted, found) in [
        (
            table.to_owned(),
            &[
                ": row-level security is off",
                ": row-level security is not forced",
                ": no policy reads the business that is set",
            ][..],
        ),
        (
            format!("{table}{on}{policy}"),
            &[": row-level security is not forced"],
        ),
        (
            format!("{table}{forced}"),
            &[": no policy reads the business that is set"],
        ),
        (
            format!("{table}{policy}{forced}DROP POLICY tenant ON planted;"),
            &[": no policy reads the business that is set"],
        ),
        (
            format!(
                "{table}{forced}CREATE POLICY tenant ON planted USING (true) WITH CHECK ({own});"
            ),
            &[
                ": no policy reads the business that is set",
                ": a policy lets others through",
            ],
        ),
        (
            format!(
                "{table}{forced}CREATE POLICY tenant ON planted TO relais_app USING ({own}) WITH CHECK (true);"
            ),
            &[
                ": no policy reads the business that is set",
                ": a policy lets others through",
            ],
        ),
        (
            format!(
                "{table}{forced}{policy}CREATE POLICY more ON planted FOR SELECT USING (note = 'public');"
            ),
            &[": a policy lets others through"],
        ),
        (
            format!("{table}{forced}{policy}GRANT TRUNCATE ON planted TO relais_app;"),
            &[": the services may truncate it"],
        ),
        (
            "CREATE VIEW planted AS SELECT business_id, content FROM messages;".to_owned(),
            &[
                ": is no table",
                ": row-level security is off",
                ": row-level security is not forced",
                ": no policy reads the business that is set",
            ],
        ),
        (format!("{table}{forced}{policy}"), &[]),
    ] {
        let mut tx = sqlx::Connection::begin(&mut *owner).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(planted.clone()))
            .execute(&mut *tx)
            .await
            .unwrap();
        let expected: Vec<String> = found.iter().map(|what| format!("planted{what}")).collect();
        assert_eq!(unprotected(&mut tx).await, expected, "{planted}");
        tx.rollback().await.unwrap();
    }
    platform.stop().await;
}

async fn count(conn: &mut PgConnection, table: &TenantTable, condition: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {} WHERE {condition}", table.name);
    sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_one(conn)
        .await
        .unwrap()
}

/// Runs a statement as the services do for `business_id`; how many rows it changed, or the code it was refused with.
async fn attempt(
    platform: &Platform,
    business_id: BusinessId,
    statement: String,
    row: &Value,
) -> Result<u64, String> {
    let mut tx = database::business(&platform.pool, business_id)
        .await
        .unwrap();
    let result = sqlx::query(AssertSqlSafe(statement))
        .bind(row)
        .execute(&mut *tx)
        .await;
    tx.rollback().await.unwrap();
    match result {
        Ok(done) => Ok(done.rows_affected()),
        Err(error) => Err(error
            .as_database_error()
            .unwrap()
            .code()
            .unwrap()
            .into_owned()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_services_role_sees_and_writes_only_the_business_that_is_set() {
    let (platform, first, second) = two_tenants().await;
    let mut owner = platform.owner.acquire().await.unwrap();
    let tables = tenant_tables(&mut owner).await;
    assert!(tables.len() >= 17, "{}", tables.len());
    let (a, b) = (first.business_id(), second.business_id());

    for table in &tables {
        let TenantTable { name, column } = table;
        let is = |id: BusinessId| format!("{column} = '{id}'");
        let there = [
            count(&mut owner, table, &is(a)).await,
            count(&mut owner, table, &is(b)).await,
        ];
        if name.starts_with("vectors_") {
            assert_eq!(
                there.iter().filter(|rows| **rows > 0).count(),
                1,
                "{name}: one business's alone"
            );
        } else {
            assert!(
                there.iter().all(|rows| *rows > 0),
                "{name}: use it in `tenant`, or this proves nothing"
            );
        }

        // Nothing set; set and over; set to nothing.
        let mut app = platform.pool.acquire().await.unwrap();
        let shared = if name == "characters" {
            "business_id IS NOT NULL"
        } else {
            "true"
        };
        assert_eq!(
            count(&mut app, table, shared).await,
            0,
            "{name}: without a business"
        );
        drop(app);
        let tx = database::business(&platform.pool, a).await.unwrap();
        tx.commit().await.unwrap();
        let mut app = platform.pool.acquire().await.unwrap();
        assert_eq!(
            count(&mut app, table, shared).await,
            0,
            "{name}: after a business"
        );
        drop(app);

        let mut tx = database::business(&platform.pool, a).await.unwrap();
        assert_eq!(
            count(&mut tx, table, &is(a)).await,
            there[0],
            "{name}: its own"
        );
        assert_eq!(
            count(&mut tx, table, &format!("NOT ({})", is(a))).await,
            0,
            "{name}: another's"
        );
        tx.rollback().await.unwrap();

        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT quote_ident(attname) FROM pg_attribute
             WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
        )
        .bind(name)
        .fetch_all(&mut *owner)
        .await
        .unwrap();
        let columns = columns.join(", ");
        // One of its own rows where it has any, made out to the other business.
        let query = format!(
            "SELECT to_jsonb(t) FROM {name} AS t WHERE {column} IS NOT NULL ORDER BY {} DESC LIMIT 1",
            is(a)
        );
        let mut row: Value = sqlx::query_scalar(AssertSqlSafe(query))
            .fetch_one(&mut *owner)
            .await
            .unwrap();
        row[column] = json!(b);
        let refused = Err("42501".to_owned());
        let insert = format!(
            "INSERT INTO {name} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{name}, $1)"
        );
        assert_eq!(
            attempt(&platform, a, insert, &row).await,
            refused,
            "{name}: a row for another business"
        );
        let give = format!("UPDATE {name} SET {column} = '{b}' WHERE $1::jsonb IS NOT NULL");
        let given = attempt(&platform, a, give, &row).await;
        assert!(
            given == refused || there[0] == 0 && given == Ok(0),
            "{name}: a row given to another business: {given:?}"
        );
        for (what, statement) in [
            (
                "taken",
                format!(
                    "UPDATE {name} SET {column} = '{a}' WHERE {} AND $1::jsonb IS NOT NULL",
                    is(b)
                ),
            ),
            (
                "deleted",
                format!(
                    "DELETE FROM {name} WHERE {} AND $1::jsonb IS NOT NULL",
                    is(b)
                ),
            ),
        ] {
            let done = attempt(&platform, a, statement, &row).await;
            assert!(
                done == Ok(0) || done == refused,
                "{name}: another's row {what}: {done:?}"
            );
        }
        let truncated = attempt(
            &platform,
            a,
            format!("TRUNCATE {name} CASCADE"),
            &Value::Null,
        )
        .await;
        assert!(truncated.is_err(), "{name}: truncated");
        let after = [
            count(&mut owner, table, &is(a)).await,
            count(&mut owner, table, &is(b)).await,
        ];
        assert_eq!(after, there, "{name}");
    }
    drop(owner);
    platform.stop().await;
}

/// By what the services could see more than the business that is set; nothing, if all is well.
async fn ways_around(conn: &mut PgConnection) -> Vec<String> {
    let query = "
        WITH ours AS (SELECT * FROM pg_roles WHERE rolname IN ('relais_app', 'relais_platform'))
        SELECT rolname || ': more than an ordinary role' FROM ours
        WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
        UNION ALL
        SELECT rolname || ': owns something' FROM ours
        WHERE EXISTS (SELECT FROM pg_shdepend
                      WHERE refclassid = 'pg_authid'::regclass AND refobjid = ours.oid AND deptype = 'o')
        UNION ALL
        -- A superuser may, of course: told above.
        SELECT rolname || ': may create' FROM ours
        WHERE NOT rolsuper AND (has_schema_privilege(oid, 'public', 'CREATE')
                                OR has_database_privilege(oid, current_database(), 'CREATE'))
        UNION ALL
        -- They are taken up for a transaction.
        SELECT 'the platform''s rights are had, and not taken up'
        WHERE pg_has_role('relais_app', 'relais_platform', 'USAGE')
        UNION ALL
        SELECT 'a member of ' || roleid::regrole FROM pg_auth_members
        WHERE member = ANY (SELECT oid FROM ours) AND roleid <> 'relais_platform'::regrole
        UNION ALL
        -- A door beside the one that is guarded.
        SELECT proname || ': a function with its owner''s rights' FROM pg_proc
        WHERE prosecdef AND pronamespace = 'public'::regnamespace
          AND has_function_privilege('relais_app', oid, 'EXECUTE')";
    sqlx::query_scalar(query).fetch_all(conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_services_role_has_no_way_around() {
    let platform = crate::setup().start().await;

    let mut owner = platform.owner.acquire().await.unwrap();
    assert_eq!(ways_around(&mut owner).await, Vec::<String>::new());
    for (planted, found) in [
        (
            "ALTER ROLE relais_app BYPASSRLS",
            "relais_app: more than an ordinary role",
        ),
        (
            "ALTER ROLE relais_platform SUPERUSER",
            "relais_platform: more than an ordinary role",
        ),
        (
            "ALTER TABLE documents OWNER TO relais_app",
            "relais_app: owns something",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO relais_app",
            "relais_app: may create",
        ),
        (
            "GRANT relais_platform TO relais_app WITH INHERIT TRUE",
            "the platform's rights are had, and not taken up",
        ),
        (
            "GRANT pg_read_all_data TO relais_app WITH INHERIT FALSE",
            "a member of pg_read_all_data",
        ),
        (
            "CREATE FUNCTION planted() RETURNS bigint LANGUAGE sql SECURITY DEFINER RETURN (SELECT count(*) FROM documents)",
            "planted: a function with its owner's rights",
        ),
    ] {
        let mut tx = sqlx::Connection::begin(&mut *owner).await.unwrap();
        sqlx::raw_sql(planted).execute(&mut *tx).await.unwrap();
        let ways = ways_around(&mut tx).await;
        assert!(ways.iter().any(|way| way == found), "{planted}: {ways:?}");
        tx.rollback().await.unwrap();
    }
    drop(owner);

    for statement in [
        "CREATE TABLE planted (id int)",
        "CREATE SCHEMA planted",
        "CREATE FUNCTION planted() RETURNS int LANGUAGE sql RETURN 1",
        "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON messages",
        "CREATE POLICY planted ON messages USING (true)",
        "ALTER ROLE relais_app BYPASSRLS",
        "SET ROLE relais_owner",
        "COPY messages TO PROGRAM 'cat'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT build_vector_index(gen_random_uuid(), 'x')",
    ] {
        let refused = sqlx::query(statement)
            .execute(&platform.pool)
            .await
            .unwrap_err();
        let code = refused
            .as_database_error()
            .unwrap()
            .code()
            .unwrap()
            .into_owned();
        assert_eq!(code, "42501", "{statement}: {refused}");
    }
    // The setting that would let its owner through instead makes the query fail.
    let mut tx = platform
        .pool
        .begin_with("begin; set local row_security = off")
        .await
        .unwrap();
    assert!(
        sqlx::query("SELECT FROM messages")
            .execute(&mut *tx)
            .await
            .is_err()
    );
    tx.rollback().await.unwrap();
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_given_up_while_it_begins_leaves_nothing_of_its_tenant_or_role() {
    let platform = crate::setup().start().await;
    let pool = common::database::connect_lazy(&platform.config.stores.database_url, 1).unwrap();

    let business_id = platform.business.business_id;
    for polls in 1..40 {
        for as_business in [true, false] {
            let mut beginning: futures::future::BoxFuture<'_, _> = if as_business {
                Box::pin(common::database::business(&pool, business_id))
            } else {
                Box::pin(common::database::platform(&pool))
            };
            for _ in 0..polls {
                if futures::poll!(&mut beginning).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(beginning);
            let seen: (String, String, String) = sqlx::query_as(
                "SELECT current_user::text, current_setting('plan_cache_mode'), \
                 coalesce(current_setting('relais.business_id', true), '')",
            )
            .fetch_one(&pool)
            .await
            .unwrap();
            let clean = ("relais_app".to_owned(), "auto".to_owned(), String::new());
            assert_eq!(seen, clean, "after {polls} polls");
        }
    }
}
