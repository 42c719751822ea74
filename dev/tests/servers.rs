//! The servers of a development machine: found again, started again, stopped, and shared by nobody.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests may fail as tests do"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use dev::servers::{
    Binaries, Postgres, PostgresOptions, Redis, RedisOptions, ServersError, default_cache_dir,
};
use fred::prelude::{Builder, Client, ClientLike, Config, KeysInterface};
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn binaries() -> Binaries {
    Binaries::locate(&default_cache_dir()).await.unwrap()
}

/// A temporary folder for data to keep, open to the user who runs PostgreSQL for root.
fn data_dir() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn kept(folder: &Path) -> PostgresOptions {
    PostgresOptions {
        durable: false,
        ..PostgresOptions::kept(folder.join("postgres"))
    }
}

async fn connect(postgres: &Postgres) -> PgConnection {
    PgConnection::connect(&postgres.owner_url("postgres"))
        .await
        .unwrap()
}

async fn vectors(postgres: &Postgres) -> i64 {
    let count = "SELECT count(*) FROM vectors WHERE embedding <-> '[1,2,3]' < 1";
    sqlx::query_scalar(count)
        .fetch_one(&mut connect(postgres).await)
        .await
        .unwrap()
}

async fn store_a_vector(postgres: &Postgres) {
    let store = "CREATE EXTENSION vector; CREATE TABLE vectors (embedding halfvec(3)); \
                 INSERT INTO vectors VALUES ('[1,2,3]')";
    connect(postgres).await.execute(store).await.unwrap();
}

async fn client(redis: &Redis) -> Client {
    let client = Builder::from_config(Config::from_url(&redis.url()).unwrap())
        .build()
        .unwrap();
    client.init().await.unwrap();
    client
}

async fn get(redis: &Redis) -> Option<String> {
    client(redis).await.get("key").await.unwrap()
}

async fn set(redis: &Redis) {
    let () = client(redis)
        .await
        .set("key", "value", None, None, false)
        .await
        .unwrap();
}

#[tokio::test]
async fn postgres_finds_its_data_at_the_second_start() {
    let (folder, binaries) = (data_dir(), binaries().await);

    let mut first = Postgres::start(&binaries.postgres_bin, kept(folder.path()))
        .await
        .unwrap();
    store_a_vector(&first).await;
    first.stop().await;
    drop(first);
    // After a crash this file names a process id that the system may have given to another program since.
    let stale = format!("{}\n", std::process::id());
    fs::write(
        folder.path().join("postgres/data/cluster/postmaster.pid"),
        stale,
    )
    .unwrap();

    let second = Postgres::start(&binaries.postgres_bin, kept(folder.path()))
        .await
        .unwrap();
    assert_eq!(vectors(&second).await, 1);
}

#[tokio::test]
async fn a_killed_postgres_starts_again_on_its_port() {
    let binaries = binaries().await;
    let options = PostgresOptions {
        durable: true,
        ..PostgresOptions::throwaway()
    };
    let mut postgres = Postgres::start(&binaries.postgres_bin, options)
        .await
        .unwrap();
    store_a_vector(&postgres).await;
    let (port, pid) = (postgres.port(), postgres.pid());

    postgres.kill_hard().await;
    assert_eq!(postgres.pid(), None);
    postgres.start_again().await.unwrap();

    assert_eq!(vectors(&postgres).await, 1);
    assert_eq!(postgres.port(), port);
    assert_ne!(postgres.pid(), pid);

    postgres.restart().await.unwrap();
    assert_eq!(vectors(&postgres).await, 1);
    assert_eq!(postgres.port(), port);
}

#[tokio::test]
async fn an_interrupted_first_start_is_made_up_for() {
    let (folder, binaries) = (data_dir(), binaries().await);
    let unfinished = folder.path().join("postgres/data/unfinished");
    fs::create_dir_all(&unfinished).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "16").unwrap();

    Postgres::start(&binaries.postgres_bin, kept(folder.path()))
        .await
        .unwrap();
}

#[tokio::test]
async fn data_of_another_version_is_refused() {
    let (folder, binaries) = (data_dir(), binaries().await);
    let cluster = folder.path().join("postgres/data/cluster");
    fs::create_dir_all(&cluster).unwrap();
    fs::write(cluster.join("PG_VERSION"), "9").unwrap();

    let refused = Postgres::start(&binaries.postgres_bin, kept(folder.path()))
        .await
        .unwrap_err();
    assert!(matches!(refused, ServersError::Version { .. }), "{refused}");
}

#[tokio::test]
async fn servers_at_once_do_not_collide_and_leave_nothing() {
    let binaries = binaries().await;
    let start = || Postgres::start(&binaries.postgres_bin, PostgresOptions::throwaway());
    let (one, two) = tokio::try_join!(start(), start()).unwrap();
    assert_ne!(one.port(), two.port());
    store_a_vector(&one).await;
    store_a_vector(&two).await;

    let log = one.log_file();
    assert!(log.exists());
    drop(one);
    assert!(!log.parent().unwrap().exists());
    assert_eq!(vectors(&two).await, 1);
}

#[tokio::test]
async fn a_folder_is_used_by_one_server_at_a_time() {
    let (folder, binaries) = (data_dir(), binaries().await);
    let _redis = Redis::start(&binaries.redis_server, RedisOptions::kept(folder.path()))
        .await
        .unwrap();

    let refused = Redis::start(&binaries.redis_server, RedisOptions::kept(folder.path()))
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains(&format!("in use by process {}", std::process::id())),
        "{refused}"
    );
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let (folder, binaries) = (data_dir(), binaries().await);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();

    let options = RedisOptions {
        port: Some(port),
        ..RedisOptions::kept(folder.path())
    };
    let refused = Redis::start(&binaries.redis_server, options)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ServersError::PortTaken { port: taken, .. } if taken == port),
        "{refused}"
    );
}

#[tokio::test]
async fn the_log_of_a_failed_start_is_in_the_error() {
    let (folder, binaries) = (data_dir(), binaries().await);
    // A folder where Redis 6 has a file, and a file where later ones have a folder.
    fs::create_dir_all(folder.path().join("data/appendonly.aof")).unwrap();
    fs::write(folder.path().join("data/appendonlydir"), "").unwrap();

    let refused = Redis::start(&binaries.redis_server, RedisOptions::kept(folder.path()))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().to_lowercase().contains("append"),
        "{refused}"
    );
}

#[tokio::test]
async fn redis_keeps_its_data_when_stopped_and_when_killed() {
    let (folder, binaries) = (data_dir(), binaries().await);
    let mut redis = Redis::start(&binaries.redis_server, RedisOptions::kept(folder.path()))
        .await
        .unwrap();
    let port = redis.port();
    set(&redis).await;

    redis.stop().await;
    redis.start_again().await.unwrap();
    assert_eq!(get(&redis).await.as_deref(), Some("value"));

    redis.kill_hard().await;
    redis.start_again().await.unwrap();
    assert_eq!(get(&redis).await.as_deref(), Some("value"));
    assert_eq!(redis.port(), port);

    drop(redis);
    let redis = Redis::start(&binaries.redis_server, RedisOptions::kept(folder.path()))
        .await
        .unwrap();
    assert_eq!(get(&redis).await.as_deref(), Some("value"));
}

#[tokio::test]
async fn a_throwaway_redis_forgets() {
    let mut redis = Redis::start(&binaries().await.redis_server, RedisOptions::throwaway())
        .await
        .unwrap();
    set(&redis).await;
    redis.restart().await.unwrap();
    assert_eq!(get(&redis).await, None);
}

#[tokio::test]
async fn a_paused_redis_answers_once_it_is_resumed() {
    let mut redis = Redis::start(&binaries().await.redis_server, RedisOptions::throwaway())
        .await
        .unwrap();
    let client = client(&redis).await;

    redis.pause();
    let mut get = Box::pin(client.get::<Option<String>, _>("key"));
    assert!(timeout(Duration::from_millis(100), &mut get).await.is_err());
    redis.resume();
    assert_eq!(get.await.unwrap(), None);

    // One that hangs is stopped as well.
    redis.pause();
    timeout(Duration::from_secs(5), redis.stop()).await.unwrap();
}

#[test]
fn servers_outlive_the_thread_and_the_runtime_that_started_them() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let start = move || {
        runtime().block_on(async {
            let binaries = binaries().await;
            let redis = Redis::start(&binaries.redis_server, RedisOptions::throwaway())
                .await
                .unwrap();
            let postgres = Postgres::start(&binaries.postgres_bin, PostgresOptions::throwaway())
                .await
                .unwrap();
            store_a_vector(&postgres).await;
            (redis, postgres)
        })
    };
    let (mut redis, mut postgres) = thread::spawn(start).join().unwrap();

    runtime().block_on(async {
        assert_eq!(get(&redis).await, None);
        assert_eq!(vectors(&postgres).await, 1);
        redis.stop().await;
        postgres.stop().await;
    });
}

/// What the next test runs as a process of its own, to kill it; without a folder in its environment it has nothing to do.
#[tokio::test]
async fn start_servers_and_hang() {
    let Ok(folder) = env::var("SERVERS_TEST_FOLDER") else {
        return;
    };
    let folder = Path::new(&folder);
    let binaries = binaries().await;
    let redis = Redis::start(
        &binaries.redis_server,
        RedisOptions::kept(folder.join("redis")),
    )
    .await
    .unwrap();
    let postgres = Postgres::start(&binaries.postgres_bin, kept(folder))
        .await
        .unwrap();
    store_a_vector(&postgres).await;
    writeln!(
        std::io::stdout(),
        "\nservers {} {}",
        redis.port(),
        postgres.owner_url("postgres")
    )
    .unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn servers_end_with_a_killed_process_and_their_data_is_found_again() {
    let (folder, binaries) = (data_dir(), binaries().await);
    let mut owner = tokio::process::Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "start_servers_and_hang"])
        .env("SERVERS_TEST_FOLDER", folder.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let servers = loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some(servers) = line.strip_prefix("servers ") {
            break servers.to_owned();
        }
    };
    let (redis_port, postgres_url) = servers.split_once(' ').unwrap();
    let mut redis = TcpStream::connect(("127.0.0.1", redis_port.parse().unwrap()))
        .await
        .unwrap();
    let mut postgres = PgConnection::connect(postgres_url).await.unwrap();

    owner.kill().await.unwrap();

    // Without `setpriv` they stay, until the next start stops them.
    if Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        let limit = Duration::from_secs(10);
        let end = timeout(limit, redis.read(&mut [0; 1]))
            .await
            .expect("Redis ends");
        assert!(matches!(end, Ok(0) | Err(_)));
        timeout(limit, postgres.execute("SELECT pg_sleep(60)"))
            .await
            .expect("PostgreSQL ends")
            .unwrap_err();
    }
    Redis::start(
        &binaries.redis_server,
        RedisOptions::kept(folder.path().join("redis")),
    )
    .await
    .unwrap();
    let postgres = Postgres::start(&binaries.postgres_bin, kept(folder.path()))
        .await
        .unwrap();
    assert_eq!(vectors(&postgres).await, 1);
}
