//! No business sees another's bytes, by any route, id or query; checked from the catalogue and the API's own description,
//! so that a new table or route cannot be forgotten.

use common::database::access::NewApiKey;
use common::database::{self, access, vector_index};
use common::domain::BusinessId;
use dev::seed::Seeded;
use dev::testing::{PATIENCE, Platform, TestUser, eventually};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use crate::bad_input::refused;
use crate::businesses::{ask, join};
use crate::contract::{Operation, operations};

/// The same person to both businesses.
const SUBSCRIBER: u64 = 4_242;

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

/// A business that has used everything, and what it has.
struct Tenant {
    seeded: Seeded,
    /// Who owns it, signed in, with it as their default.
    owner: TestUser,
    /// A word only its own documents and messages have.
    word: &'static str,
    document: String,
    job: String,
    contact: String,
    chat: String,
    api_key: String,
    invitation: String,
}

impl Tenant {
    fn business_id(&self) -> BusinessId {
        self.seeded.business_id
    }

    /// Something of its own, by the part of a path in front of the id.
    fn id_of(&self, resource: &str) -> String {
        let id = match resource {
            "businesses" => return self.business_id().to_string(),
            "members" => return self.owner.id.to_string(),
            "documents" => &self.document,
            "jobs" => &self.job,
            "contacts" => &self.contact,
            "chats" => &self.chat,
            "api-keys" => &self.api_key,
            "invitations" => &self.invitation,
            _ => panic!("there is nothing to try `{resource}/{{id}}` with: add it here"),
        };
        id.clone()
    }

    /// The same by the name of a parameter.
    fn parameter(&self, name: &str) -> String {
        match name {
            "contact_id" => self.contact.clone(),
            "chat_id" => self.chat.clone(),
            "external_id" => SUBSCRIBER.to_string(),
            "actor_id" => self.owner.id.to_string(),
            "object_id" => self.api_key.clone(),
            _ => panic!("there is nothing to try `?{name}=` with: add it here"),
        }
    }

    fn request(&self, platform: &Platform, method: Method, path: &str) -> RequestBuilder {
        let key = self.seeded.api_key.expose_secret();
        platform
            .http
            .request(method, platform.url(path))
            .bearer_auth(key)
    }

    async fn get(&self, platform: &Platform, path: &str) -> Value {
        let response = platform.get_as(&self.seeded, path).await;
        assert_eq!(response.status(), 200, "GET {path}");
        response.json().await.unwrap()
    }

    /// `GET path` of an operation as somebody it is for: a user, or a machine.
    async fn list(&self, platform: &Platform, list: &Operation, path: &str) -> Value {
        let token = if list.description["x-access"] == "signed-in" {
            &self.owner.access_token
        } else {
            &self.seeded.api_key
        };
        ask(platform, token, ("GET", path), None, 200).await
    }

    async fn post(&self, platform: &Platform, path: &str, body: &Value) -> Response {
        self.request(platform, Method::POST, path)
            .json(body)
            .send()
            .await
            .unwrap()
    }
}

/// A platform with two businesses that did the same, each with a word of its own.
async fn two_tenants() -> (Platform, Tenant, Tenant) {
    let platform = crate::setup().start().await;
    let other = platform.another_business("Another").await;
    let first = platform.business.clone();
    let (first, second) = tokio::join!(
        tenant(&platform, first, "quetzalcoatlus"),
        tenant(&platform, other, "brachiosaurus")
    );
    (platform, first, second)
}

/// Uses everything as `seeded`: a document, a message with its answer, a question, and a vector index.
async fn tenant(platform: &Platform, seeded: Seeded, word: &'static str) -> Tenant {
    let text = format!("Our mascot is the {word}. The {word} wears a red scarf in winter.");
    let uploaded = platform.upload_as(&seeded, "mascot.md", text.into()).await;
    assert_eq!(uploaded.status(), 202);
    let uploaded: Value = uploaded.json().await.unwrap();
    let (document, job) = (
        uploaded["id"].as_str().unwrap(),
        uploaded["job_id"].as_str().unwrap(),
    );
    let list = async |path: &str| -> Vec<Value> {
        let list: Value = platform.get_as(&seeded, path).await.json().await.unwrap();
        list["data"].as_array().unwrap().clone()
    };
    eventually("the document is processed", async || {
        (!list("/api/v1/documents?status=processed").await.is_empty()).then_some(())
    })
    .await;

    // The same message of the same person: each business has its own.
    let message = json!({ "subscriber_id": SUBSCRIBER, "text": "What does the mascot wear?", "message_id": "same" });
    assert_eq!(
        platform.webhook_to(0, &seeded, &message).await.status(),
        200
    );
    eventually("the answer is sent", async || {
        let sent = list("/api/v1/messages?direction=outbound").await;
        sent.iter()
            .any(|message| message["status"] == "sent")
            .then_some(())
    })
    .await;
    let (contacts, chats) = (list("/api/v1/contacts").await, list("/api/v1/chats").await);
    let (owner, api_key, invitation) = owned(platform, &seeded, word).await;

    let model: String = sqlx::query_scalar("SELECT min(model) FROM chunk_embeddings")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    vector_index::ensure(&platform.pool, seeded.business_id, &model)
        .await
        .unwrap();
    Tenant {
        document: document.to_owned(),
        job: job.to_owned(),
        contact: contacts[0]["id"].as_str().unwrap().to_owned(),
        chat: chats[0]["id"].as_str().unwrap().to_owned(),
        api_key,
        invitation,
        owner,
        seeded,
        word,
    }
}

/// An owner for a business, and what only a person makes: an API key, an invitation.
async fn owned(platform: &Platform, seeded: &Seeded, word: &str) -> (TestUser, String, String) {
    let owner = platform.user(word).await;
    let path = format!("/api/v1/businesses/{}", seeded.business_id);
    join(platform, &path, &owner, "owner").await;
    sqlx::query("UPDATE users SET default_business_id = $1 WHERE id = $2")
        .bind(seeded.business_id.0)
        .bind(owner.id.0)
        .execute(&platform.owner)
        .await
        .unwrap();
    let make = async |path: &str, body: Value| {
        let made = ask(
            platform,
            &owner.access_token,
            ("POST", path),
            Some(body),
            201,
        )
        .await;
        made["id"].as_str().unwrap().to_owned()
    };
    let key = json!({ "name": "n8n", "scopes": ["*"] });
    let invitation = json!({ "email": format!("{}@example.org", owner.id), "role": "member" });
    let api_key = make("/api/v1/api-keys", key).await;
    let invitation = make(&format!("{path}/members"), invitation).await;
    (owner, api_key, invitation)
}

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

/// Headers that differ from answer to answer, whatever was asked.
const CHANGING_HEADERS: [&str; 4] = [
    "x-request-id",
    "date",
    "ratelimit-remaining",
    "ratelimit-reset",
];

/// Everything a caller can tell two answers apart by.
async fn told(response: Response) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<(String, String)> = response
        .headers()
        .iter()
        .filter(|(name, _)| !CHANGING_HEADERS.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    (
        response.status().as_u16(),
        headers,
        response.text().await.unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_another_s_answers_exactly_as_what_is_nowhere() {
    let (platform, first, second) = two_tenants().await;
    let operations = operations(&platform).await;

    let mut tried = 0;
    for operation in operations
        .iter()
        .filter(|operation| operation.takes_api_key() && !operation.parameters("path").is_empty())
    {
        let case = format!("{} {}", operation.method, operation.path);
        let body = operation.body(&case);
        let theirs = operation.path_with(|resource| first.id_of(resource));
        let nowhere = operation.path_with(|_| Uuid::now_v7().to_string());
        // Their member, in one's own business.
        let own = |resource: &str, id: String| match resource {
            "businesses" => second.business_id().to_string(),
            _ => id,
        };
        let within = [
            operation.path_with(|resource| own(resource, first.id_of(resource))),
            operation.path_with(|resource| own(resource, Uuid::now_v7().to_string())),
        ];
        let send = async |path: &str| {
            // The owner may do everything a caller can.
            let (token, method) = (&second.owner.access_token, operation.method.as_str());
            told(platform.send(token, method, path, body.as_ref()).await).await
        };
        let (another, unknown) = (send(&theirs).await, send(&nowhere).await);
        assert_eq!(another.0, 404, "{case}");
        assert_eq!(another, unknown, "{case}");
        if operation.parameters("path").len() > 1 {
            let (another, unknown) = (send(&within[0]).await, send(&within[1]).await);
            assert_eq!((another.0, &another), (404, &unknown), "{case}");
        }
        if operation.method == Method::GET {
            // Whose it is sees it, and still does.
            first.get(&platform, &theirs).await;
        }
        tried += 1;
    }
    assert!(tried >= 7, "{tried}");
    for path in ["query", "search"] {
        let ask = async |id: &str| {
            let body = json!({ "question": "What does the mascot wear?", "document_ids": [second.document, id] });
            told(
                second
                    .post(&platform, &format!("/api/v1/{path}"), &body)
                    .await,
            )
            .await
        };
        let (another, unknown) = (
            ask(&first.document).await,
            ask(&Uuid::now_v7().to_string()).await,
        );
        assert_eq!((another.0, &another), (404, &unknown), "{path}");
    }
    first
        .get(
            &platform,
            &format!("/api/v1/documents/{}/chunks", first.document),
        )
        .await;
    platform.stop().await;
}

/// Every id in `value`, except those of what all businesses are shown.
fn ids(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) if fields.get("is_shared") == Some(&json!(true)) => Vec::new(),
        Value::Object(fields) => fields.values().flat_map(ids).collect(),
        Value::Array(items) => items.iter().flat_map(ids).collect(),
        Value::String(text) if Uuid::try_parse(text).is_ok() => vec![text.clone()],
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_list_search_or_answer_shows_what_is_another_s() {
    let (platform, first, second) = two_tenants().await;
    let operations = operations(&platform).await;
    let mut forbidden = vec![first.business_id().to_string(), first.word.to_owned()];
    let mut seen = Vec::new();

    let lists = operations.iter().filter(|operation| {
        operation.method == Method::GET
            && operation.takes_api_key()
            && operation.parameters("path").is_empty()
    });
    for list in lists {
        let path = list.path_with(|_| unreachable!("no ids"));
        let theirs = first.list(&platform, list, &path).await;
        assert!(
            !theirs["data"].as_array().unwrap().is_empty(),
            "{path}: use it in `tenant`, or this proves nothing"
        );
        forbidden.extend(ids(&theirs));
        let mine = second.list(&platform, list, &path).await;
        assert!(!mine["data"].as_array().unwrap().is_empty(), "{path}");
        seen.push((path.clone(), mine));
        for name in list
            .parameters("query")
            .iter()
            .filter(|name| name.ends_with("_id"))
        {
            let filtered = format!("{path}?{name}={}", first.parameter(name));
            let found = second.get(&platform, &filtered).await;
            if *name != "external_id" {
                let unknown = second
                    .get(&platform, &format!("{path}?{name}={}", Uuid::now_v7()))
                    .await;
                assert_eq!(found, unknown, "{filtered}");
            }
            seen.push((filtered, found));
        }
        // A cursor says where to go on, not whose.
        let cursor = Uuid::try_parse("ffffffff-ffff-ffff-ffff-ffffffffffff")
            .unwrap()
            .simple();
        let path = format!("{path}?cursor={cursor}");
        seen.push((path.clone(), second.list(&platform, list, &path).await));
    }
    assert!(seen.len() >= 12, "{}", seen.len());
    for path in ["query", "search"] {
        let path = format!("/api/v1/{path}");
        for question in [
            format!("What does the {} wear?", first.word),
            "What does the mascot wear?".to_owned(),
        ] {
            let body = json!({ "question": question, "top_k": 20 });
            let found: Value = second
                .post(&platform, &path, &body)
                .await
                .json()
                .await
                .unwrap();
            // The question's own words are no secret.
            let sources = found["sources"].as_array().unwrap();
            assert!(
                sources
                    .iter()
                    .all(|source| source["document_id"] == second.document.as_str()),
                "{found}"
            );
            seen.push((format!("{path} {question}"), found));
        }
    }
    for (what, found) in &seen {
        let text = found.to_string();
        for secret in &forbidden {
            assert!(
                !text.contains(secret.as_str()),
                "{what} shows {secret}: {text}"
            );
        }
    }

    // Nor did the answers that were sent: one each, from each business's own documents.
    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| delivered.len() == 2)
            .await
    );
    let answers = platform.manychat.texts_to(&SUBSCRIBER.to_string());
    for word in [first.word, second.word] {
        assert_eq!(
            answers
                .iter()
                .filter(|answer| answer.contains(word))
                .count(),
            1,
            "{answers:?}"
        );
    }
    assert!(
        answers
            .iter()
            .all(|answer| !(answer.contains(first.word) && answer.contains(second.word))),
        "{answers:?}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes_in_without_a_valid_key_of_the_business() {
    let platform = crate::setup().start().await;
    let other = platform.another_business("Another").await;
    let right = platform.business.api_key.expose_secret();
    let (id, secret) = right
        .strip_prefix("rl_live_")
        .unwrap()
        .split_once('_')
        .unwrap();
    let (_, their_secret) = other
        .api_key
        .expose_secret()
        .strip_prefix("rl_live_")
        .unwrap()
        .split_once('_')
        .unwrap();
    let now = platform.clock.now();
    let mut tx = database::business(&platform.pool, platform.business.business_id)
        .await
        .unwrap();
    let scopes = ["*".to_owned()];
    let key = |name| NewApiKey {
        business_id: platform.business.business_id,
        name,
        scopes: &scopes,
        expires_at: None,
        created_by: None,
    };
    let (revoked_id, revoked) = access::create_api_key(&mut tx, &key("revoked"), now)
        .await
        .unwrap();
    let (leaving_id, leaving) = access::create_api_key(&mut tx, &key("leaving"), now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let revoke = async |id: Uuid| {
        let query = sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE id = $1");
        query.bind(id).execute(&platform.owner).await.unwrap();
    };
    let list = async |key: &str| {
        let request = platform
            .http
            .get(platform.url("/api/v1/documents"))
            .bearer_auth(key);
        request.send().await.unwrap()
    };
    revoke(revoked_id.0).await;
    assert_eq!(list(leaving.expose_secret()).await.status(), 200);
    revoke(leaving_id.0).await;

    let wrong = [
        "Bearer".to_owned(),
        "Bearer nonsense".to_owned(),
        format!("Basic {right}"),
        format!("Bearer rl_live_{}_{secret}", Uuid::now_v7().simple()),
        format!("Bearer rl_live_{id}_{their_secret}"),
        format!("Bearer rl_live_{id}_"),
        format!("Bearer {right}x"),
        format!(
            "Bearer {}",
            platform.business.webhook_secret.expose_secret()
        ),
        format!("Bearer {}", revoked.expose_secret()),
    ];
    let operations = operations(&platform).await;
    for operation in operations.iter().filter(|operation| !operation.is_public()) {
        let path = operation.path_with(|_| Uuid::now_v7().to_string());
        let case = format!("{} {path}", operation.method);
        let request = || {
            platform
                .http
                .request(operation.method.clone(), platform.url(&path))
        };
        refused(&case, request().send().await.unwrap(), 401, "UNAUTHORIZED").await;
        assert!(!operation.description["security"].is_null(), "{case}");
        if !operation.takes_api_key() {
            continue;
        }
        let mut answers = Vec::new();
        for authorization in &wrong {
            let response = request()
                .header("Authorization", authorization)
                .send()
                .await
                .unwrap();
            assert_eq!(response.status(), 401, "{case} {authorization}");
            answers.push(told(response).await);
        }
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{case}: {answers:?}"
        );
        for business in [
            other.business_id.to_string(),
            Uuid::now_v7().to_string(),
            "nonsense".to_owned(),
        ] {
            let request = request()
                .bearer_auth(right)
                .header("X-Business-Id", business);
            refused(&case, request.send().await.unwrap(), 404, "NOT_FOUND").await;
        }
    }
    let own = platform.business.business_id.to_string();
    let request = platform
        .http
        .get(platform.url("/api/v1/documents"))
        .bearer_auth(right);
    assert_eq!(
        request
            .header("X-Business-Id", own)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    // A key in use is remembered for seconds, no longer.
    eventually("the revoked key is refused", async || {
        (list(leaving.expose_secret()).await.status() == 401).then_some(())
    })
    .await;
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
