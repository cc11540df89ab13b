//! The cache of facts as a file, so that a restart stays warm. It is read once, at the start, and written by a
//! thread of its own in batches: no request waits for it. Where it falls behind, facts go unwritten; where it
//! fails, it falls silent. Neither costs more than time.

use std::fs::{self, File, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use redb::{TableDefinition, TableHandle};
use sha2::{Digest as _, Sha256};

use super::{Fact, FactsError, Place};

/// What the file is. Do not change these names: they stand in files that exist.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("sealgate-facts");
/// Place to number, fact and check.
const FACTS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("facts");
/// Numbers in the order of writing to places.
const ORDER: TableDefinition<'_, u64, &[u8; 32]> = TableDefinition::new("order");
/// The layout of the above. Another one means another number.
const FORMAT: u64 = 1;
/// The database's page cache; its default is 1 GiB.
const PAGES: usize = 4 * 1024 * 1024;

/// Facts that wait to be written; more are dropped.
const QUEUE: usize = 16 * 1024;
/// Facts that are written at once.
const BATCH: usize = 4096;
/// How long a batch is gathered.
const GATHER: Duration = Duration::from_secs(1);

/// Bytes at the end of a row that tell whether it is as it was written.
const CHECK: usize = 8;

/// The file.
pub(super) struct Disk {
    queue: Option<SyncSender<(Place, Fact)>>,
    writer: Option<JoinHandle<()>>,
}

impl Disk {
    /// Opens or makes the file, and gives what it knows, oldest first.
    pub(super) fn open(path: &Path, rows: usize) -> Result<(Self, Vec<(Place, Fact)>), FactsError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| FactsError::Open {
            path: path.to_owned(),
            source,
        };
        let begin = || -> Result<Result<Loaded, Unusable>, FactsError> {
            let file = file(path).map_err(|error| failed(error.into()))?;
            // A damaged file may well trip the database up.
            match catch_unwind(AssertUnwindSafe(|| load(file, rows))) {
                Ok(Err(Unusable::InUse)) => Err(FactsError::InUse(path.to_owned())),
                Ok(loaded) => Ok(loaded),
                Err(_) => Ok(Err(Unusable::Damaged("the database gave up on it".into()))),
            }
        };
        let loaded = match begin()? {
            Ok(loaded) => loaded,
            Err(reason) => {
                let aside = aside(path);
                tracing::warn!(
                    path = %path.display(),
                    aside = %aside.display(),
                    %reason,
                    "cache file cannot be used: put aside, and a new one begun"
                );
                fs::rename(path, &aside).map_err(|error| failed(error.into()))?;
                begin()?.map_err(|reason| failed(reason.to_string().into()))?
            }
        };
        let (queue, facts) = sync_channel(QUEUE);
        let writer = Writer {
            database: loaded.database,
            next: loaded.next,
            rows: rows as u64,
            path: path.to_owned(),
        };
        let writer = std::thread::Builder::new()
            .name("facts".into())
            .spawn(move || writer.run(&facts))
            .map_err(|error| failed(error.into()))?;
        let disk = Self {
            queue: Some(queue),
            writer: Some(writer),
        };
        Ok((disk, loaded.facts))
    }

    /// Has a fact written soon, if there is room in the queue.
    pub(super) fn write(&self, place: Place, fact: Fact) {
        if let Some(queue) = &self.queue {
            let _ = queue.try_send((place, fact));
        }
    }
}

impl Drop for Disk {
    /// Waits until what is in the queue has been written.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// A file that was read.
struct Loaded {
    database: Database,
    /// The number of the next row.
    next: u64,
    facts: Vec<(Place, Fact)>,
}

/// Why a file was not.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("another process has it open")]
    InUse,
    #[error("it is not a cache of this program")]
    Foreign,
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl<E: Into<redb::Error>> From<E> for Unusable {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// Opens the file, or makes it; nobody else may read it.
fn file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(file)
}

/// Where a file goes that cannot be used.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unusable");
    name.into()
}

fn load(file: File, rows: usize) -> Result<Loaded, Unusable> {
    let database = redb::Builder::new()
        .set_cache_size(PAGES)
        .create_file(file)
        .map_err(|error: DatabaseError| Unusable::from(error))?;
    let known = {
        let reading = database.begin_read()?;
        let ours = reading
            .list_tables()?
            .any(|table| table.name() == META.name());
        let empty = reading.list_tables()?.next().is_none();
        match (ours, empty) {
            (true, _) => reading.open_table(META)?.get("format")?.map(|n| n.value()),
            (false, true) => None,
            (false, false) => return Err(Unusable::Foreign),
        }
    };
    match known {
        Some(FORMAT) => {}
        Some(_) => return Err(Unusable::Foreign),
        None => {
            let writing = database.begin_write()?;
            writing.open_table(META)?.insert("format", FORMAT)?;
            writing.open_table(FACTS)?;
            writing.open_table(ORDER)?;
            writing.commit()?;
        }
    }
    let reading = database.begin_read()?;
    let (order, facts) = (reading.open_table(ORDER)?, reading.open_table(FACTS)?);
    if order.len()? != facts.len()? {
        return Err(Unusable::Damaged("its tables do not agree".into()));
    }
    let mut next = 0;
    let mut found = Vec::new();
    for row in order.iter()?.rev().take(rows) {
        let (number, place) = row?;
        let (number, place) = (number.value(), *place.value());
        next = next.max(number.saturating_add(1));
        let row = facts.get(&place)?;
        let fact = row
            .as_ref()
            .and_then(|row| unpack(&place, number, row.value()))
            .ok_or_else(|| Unusable::Damaged("a row is not as it was written".into()))?;
        // Of a kind that only a later version knows.
        if let Some(fact) = Fact::decode(fact) {
            found.push((place, fact));
        }
    }
    found.reverse();
    drop((order, facts, reading));
    Ok(Loaded {
        database,
        next,
        facts: found,
    })
}

/// A row: its number, the fact, the check.
fn pack(place: &Place, number: u64, fact: &Fact) -> Vec<u8> {
    let mut row = number.to_be_bytes().to_vec();
    row.extend(fact.encode());
    row.extend(check(place, &row));
    row
}

/// The fact of a row, still encoded; `None` where the row is not what was written under this place and number.
fn unpack<'r>(place: &Place, number: u64, row: &'r [u8]) -> Option<&'r [u8]> {
    let (row, found) = row.split_last_chunk::<CHECK>()?;
    (check(place, row) == *found).then_some(())?;
    row.strip_prefix(&number.to_be_bytes())
}

fn check(place: &Place, row: &[u8]) -> [u8; CHECK] {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(place)
        .chain_update(row)
        .finalize()
        .into();
    let mut check = [0; CHECK];
    check.copy_from_slice(&hash[..CHECK]);
    check
}

/// The thread that writes.
struct Writer {
    database: Database,
    next: u64,
    /// Rows kept at most.
    rows: u64,
    path: PathBuf,
}

impl Writer {
    fn run(mut self, facts: &Receiver<(Place, Fact)>) {
        while let Ok(first) = facts.recv() {
            let mut batch = vec![first];
            let until = Instant::now() + GATHER;
            while batch.len() < BATCH {
                let left = until.saturating_duration_since(Instant::now());
                match facts.recv_timeout(left) {
                    Ok(fact) => batch.push(fact),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            let written = catch_unwind(AssertUnwindSafe(|| self.write(&batch)));
            let reason = match written {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the database gave up on it".to_owned(),
            };
            tracing::warn!(
                path = %self.path.display(),
                reason,
                "cache file cannot be written: the cache is in memory only until the next start"
            );
            return;
        }
    }

    /// Writes a batch, and drops the oldest rows above the bound.
    fn write(&mut self, batch: &[(Place, Fact)]) -> Result<(), redb::Error> {
        let writing = self.database.begin_write()?;
        {
            let mut facts = writing.open_table(FACTS)?;
            let mut order = writing.open_table(ORDER)?;
            for (place, fact) in batch {
                let row = pack(place, self.next, fact);
                if let Some(old) = facts.insert(place, row.as_slice())?
                    && let Some(number) = old.value().first_chunk()
                {
                    order.remove(u64::from_be_bytes(*number))?;
                }
                order.insert(self.next, place)?;
                self.next = self.next.saturating_add(1);
            }
            while facts.len()? > self.rows
                && let Some((_, place)) = order.pop_first()?
            {
                facts.remove(place.value())?;
            }
        }
        writing.commit()?;
        Ok(())
    }
}
