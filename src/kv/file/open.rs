//! Opens or creates the file.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use redb::{Builder, Database, DatabaseError, StorageError, backends::FileBackend};

use super::damage;
use crate::random;

/// Why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or this one, has it.
    #[error(
        "state: {0} is open in another process: a file is one gate's alone, and replicas share Redis (session.shared, or \
         session.store)"
    )]
    InUse(PathBuf),
    /// Its folder cannot be made.
    #[error("state: the folder of {0} cannot be made: {1}")]
    Folder(PathBuf, io::Error),
    /// It cannot be read and written.
    #[error("state: {0} cannot be opened: {1}")]
    Unusable(PathBuf, String),
    /// What stands in it is not what was written.
    #[error(
        "state: {0} is damaged: {1}; put a copy in its place, or move it away, and the tokens and grants of everybody with it"
    )]
    Damaged(PathBuf, String),
    /// The system gives no thread.
    #[error("state: no thread can be started: {0}")]
    Thread(io::Error),
}

/// Opens the file for this process alone; makes it where there is none. Nobody but its owner can read it: it knows who
/// may come in.
pub(super) fn open(path: &Path) -> Result<Database, OpenError> {
    let unusable = |error: io::Error| OpenError::Unusable(path.to_owned(), error.to_string());
    if !path.try_exists().map_err(unusable)? {
        make(path)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(unusable)?;
    let mode = file.metadata().map_err(unusable)?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(unusable)?;
    }
    database(file, path)
}

/// Makes the file whole before it has its name: one that was killed over it leaves nothing that cannot be opened.
fn make(path: &Path) -> Result<(), OpenError> {
    let unusable = |error: io::Error| OpenError::Unusable(path.to_owned(), error.to_string());
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(folder);
        made.map_err(|error| OpenError::Folder(path.to_owned(), error))?;
    }
    let mut fresh = path.as_os_str().to_owned();
    // Nobody else's, and not there already: in containers all processes have one id, and one volume may have several.
    fresh.push(format!(".{:032x}", u128::from_ne_bytes(random::bytes())));
    let fresh = PathBuf::from(fresh);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    let file = options.mode(0o600).open(&fresh).map_err(unusable)?;
    drop(database(file, &fresh)?);
    // One that somebody else has made meanwhile is as good.
    let linked = match fs::hard_link(&fresh, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    let removed = fs::remove_file(&fresh);
    linked.and(removed).map_err(unusable)?;
    // Its name has to outlast a power cut, too.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::File::open(folder.unwrap_or_else(|| Path::new(".")));
    folder
        .and_then(|folder| folder.sync_all())
        .map_err(unusable)
}

fn database(file: fs::File, path: &Path) -> Result<Database, OpenError> {
    let opened = damage::caught(|| {
        FileBackend::new(file).and_then(|file| {
            Builder::new()
                .set_cache_size(CACHE)
                .create_with_backend(file)
        })
    });
    let opened = opened.map_err(|said| OpenError::Damaged(path.to_owned(), said))?;
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::InUse(path.to_owned())
        }
        DatabaseError::Storage(StorageError::Corrupted(said)) => {
            OpenError::Damaged(path.to_owned(), said)
        }
        error => OpenError::Unusable(path.to_owned(), error.to_string()),
    })
}

/// Bytes of the file that are cached.
const CACHE: usize = 16 * 1024 * 1024;
