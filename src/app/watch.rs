//! The files of a configuration, and whether one of them has changed.
//!
//! They are checked by name each second. That notices a file that was replaced by a move, a symbolic link that points elsewhere (as
//! Kubernetes swaps a mounted `ConfigMap` or Secret), and files on file systems that report no changes.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::sleep;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// For how long they must stay as they are before they are read: who writes a file may still be writing.
const SETTLED: Duration = Duration::from_secs(1);

/// Watches files.
pub(super) struct Watch {
    files: Vec<PathBuf>,
    known: Vec<Option<Stamp>>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Nobody sets this one back.
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| Stamp::of(file)).collect()
}

impl Watch {
    /// Watches `files` from now on; none is fine.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let known = stamps(&files);
        Self { files, known }
    }

    /// Watches these instead. Of a file that is watched already a change that was not yet told is not lost.
    pub(super) fn follow(&mut self, files: Vec<PathBuf>) {
        self.known = files
            .iter()
            .map(|file| {
                let place = self.files.iter().position(|known| known == file);
                place.map_or_else(|| Stamp::of(file), |place| self.known[place])
            })
            .collect();
        self.files = files;
    }

    /// Comes when one of them has changed and has then stayed as it is for a moment. May be dropped while it waits.
    pub(super) async fn changed(&mut self) {
        loop {
            sleep(EVERY).await;
            let mut now = stamps(&self.files);
            if now == self.known {
                continue;
            }
            loop {
                sleep(SETTLED).await;
                let later = stamps(&self.files);
                if later == now {
                    break;
                }
                now = later;
            }
            self.known = now;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    async fn is_seen(watch: &mut Watch) -> bool {
        timeout(EVERY * 3, watch.changed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_written_moved_over_or_swapped_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "1").unwrap();
        fs::write(at("other"), "22").unwrap();
        fs::create_dir(at("v1")).unwrap();
        fs::create_dir(at("v2")).unwrap();
        fs::write(at("v1").join("secret"), "a").unwrap();
        fs::write(at("v2").join("secret"), "b").unwrap();
        symlink("v1", at("data")).unwrap();
        let mut watch = Watch::new(vec![at("file"), at("data").join("secret"), at("absent")]);
        assert!(!is_seen(&mut watch).await);
        fs::write(at("file"), "one").unwrap();
        assert!(is_seen(&mut watch).await);
        fs::rename(at("other"), at("file")).unwrap();
        assert!(is_seen(&mut watch).await);
        symlink("v2", at("data_new")).unwrap();
        fs::rename(at("data_new"), at("data")).unwrap();
        assert!(is_seen(&mut watch).await);
        fs::write(at("absent"), "").unwrap();
        assert!(is_seen(&mut watch).await);
        assert!(!is_seen(&mut watch).await);
    }
}
