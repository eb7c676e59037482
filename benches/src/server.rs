//! A PostgreSQL server for one run, and the resources that it uses.

use crate::Failure;
use outbox_store_postgres::sqlx::{self, PgPool, Row, postgres::PgPoolOptions};
use std::fs;
use test_servers::{Kind, Server, search_path};

pub(crate) struct Postgres {
    server: Server,
    pub(crate) pool: PgPool,
    /// The parent of all processes of this server.
    postmaster: String,
}

/// The resources that the server has used until a moment.
#[derive(Clone)]
pub(crate) struct Spent {
    /// In microseconds.
    cpu: f64,
    lsn: String,
}

impl Postgres {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let server = Server::start(Kind::Postgres, &search_path())?;
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .test_before_acquire(false)
            .connect(server.url())
            .await?;
        let row = sqlx::query("SELECT pg_backend_pid()")
            .fetch_one(&pool)
            .await?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", row.get::<i32, _>(0)))?;
        let postmaster = fields(&stat)[1].to_owned();
        Ok(Self {
            server,
            pool,
            postmaster,
        })
    }

    pub(crate) fn url(&self) -> &str {
        self.server.url()
    }

    pub(crate) async fn vacuum(&self) -> Result<(), Failure> {
        sqlx::query("VACUUM ANALYZE").execute(&self.pool).await?;
        sqlx::query("CHECKPOINT").execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn spent(&self) -> Result<Spent, Failure> {
        let row = sqlx::query("SELECT pg_current_wal_insert_lsn()::text")
            .fetch_one(&self.pool)
            .await?;
        Ok(Spent {
            cpu: self.cpu()?,
            lsn: row.get(0),
        })
    }

    /// Microseconds of CPU and bytes of WAL since `before`.
    pub(crate) async fn since(&self, before: &Spent) -> Result<(f64, f64), Failure> {
        let cpu = self.cpu()? - before.cpu;
        let wal = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::pg_lsn)::float8";
        let row = sqlx::query(wal)
            .bind(&before.lsn)
            .fetch_one(&self.pool)
            .await?;
        Ok((cpu, row.get(0)))
    }

    /// User and system time of the server's processes.
    fn cpu(&self) -> Result<f64, Failure> {
        let mut ticks = 0;
        for entry in fs::read_dir("/proc")?.flatten() {
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            let fields = fields(&stat);
            // Running children, and ended children that were waited for.
            let own = if fields[1] == self.postmaster {
                [11, 12]
            } else if stat.starts_with(&format!("{} ", self.postmaster)) {
                [13, 14]
            } else {
                continue;
            };
            for field in own {
                ticks += fields[field].parse::<u64>()?;
            }
        }
        // Linux counts hundredths of a second.
        Ok(ticks as f64 * 10_000.0)
    }
}

/// The fields of /proc/PID/stat behind the program's name: state, parent, and so on.
fn fields(stat: &str) -> Vec<&str> {
    let rest = stat.rsplit(") ").next().unwrap_or_default();
    rest.split(' ').collect()
}
