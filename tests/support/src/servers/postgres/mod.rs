//! PostgreSQL, and PgBouncer in front of it. Both refuse root.

#[cfg(feature = "postgres")]
mod cluster;
#[cfg(feature = "postgres")]
mod database;
mod files;
#[cfg(feature = "postgres")]
mod trips;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

#[cfg(feature = "postgres")]
pub use cluster::Standby;
#[cfg(feature = "postgres")]
pub use database::Database;
use files::not_as_root;
#[cfg(feature = "postgres")]
pub use trips::Trips;

use super::Needs;
use super::keeper::Line;
use super::kinds::{Hello, Kind, Ports, Processes, Runs, Tells};

/// PostgreSQL. One that tests share does not wait for its disk, because no test crashes it.
pub static POSTGRES: Kind = Kind {
    name: "PostgreSQL",
    hint: "`apt-get install postgresql`",
    variable: "IDEM_TEST_POSTGRES",
    asked_for: false,
    place: 6,
    scheme: "postgres://postgres@",
    runs: Runs::Processes(Processes {
        programs: &["initdb", "postgres"],
        start: postgres,
        hello: LOGIN,
        tells: Tells::Nothing,
    }),
};

/// PgBouncer in transaction mode, in front of a server that [`Server::bouncer`] knows.
///
/// [`Server::bouncer`]: super::Server::bouncer
pub static PGBOUNCER: Kind = Kind {
    name: "PgBouncer",
    hint: "`apt-get install pgbouncer`",
    // It is always the test's own.
    variable: "IDEM_TEST_PGBOUNCER",
    asked_for: false,
    place: 7,
    scheme: "postgres://postgres@",
    runs: Runs::Processes(Processes {
        programs: &["pgbouncer"],
        start: pgbouncer,
        hello: LOGIN,
        tells: Tells::Nothing,
    }),
};

/// The user postgres logs in. A server that starts or recovers refuses with `E`.
const LOGIN: Hello = (
    b"\x00\x00\x00\x17\x00\x03\x00\x00user\x00postgres\x00\x00",
    |answer| answer.starts_with(b"R"),
);

fn postgres(folder: &Path, ports: Ports, needs: Needs) -> anyhow::Result<Vec<Line>> {
    let (data, is_new) = files::data(folder)?;
    if is_new {
        let mut settings = vec![
            "listen_addresses = '127.0.0.1'",
            "unix_socket_directories = ''",
            // A process of a service has a committer, a pool and a listener.
            "max_connections = 400",
            // What a killed server had in /dev/shm would stay there.
            "dynamic_shared_memory_type = mmap",
            "shared_buffers = '32MB'",
            "max_wal_size = '256MB'",
            // What a replica has missed while it was away is still there.
            "wal_keep_size = '256MB'",
            "wal_retrieve_retry_interval = '100ms'\n",
        ];
        if needs == Needs::Any {
            settings.extend(["fsync = off", "full_page_writes = off\n"]);
        }
        // In the file, so that `Server::set` can change them.
        let mut file = OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))?;
        file.write_all(settings.join("\n").as_bytes())?;
    }
    let (data, port) = (data.display().to_string(), format!("port={}", ports.own));
    let arguments = ["-D", &data, "-c", &port].map(ToOwned::to_owned).into();
    Ok(vec![not_as_root(folder, "postgres", arguments)?])
}

fn pgbouncer(folder: &Path, ports: Ports, _: Needs) -> anyhow::Result<Vec<Line>> {
    let config = folder.join("pgbouncer.ini");
    let own = std::fs::read_to_string(&config)?;
    let (before, _) = own.split_once("listen_port").unwrap_or((&own, ""));
    std::fs::write(&config, format!("{before}listen_port = {}\n", ports.own))?;
    let arguments = vec![config.display().to_string()];
    Ok(vec![not_as_root(folder, "pgbouncer", arguments)?])
}
