//! Values in a file, for one process, in the embedded database redb. Acknowledged changes are on disk.
//!
//! Threads that serve requests never wait for the disk: one thread writes and another reads, each with a bounded queue. Changes that come
//! while the disk is busy share the next commit.

mod damage;
mod open;
mod work;

use std::{path::Path, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

pub use self::open::OpenError;
use self::work::{Change, Disk, Outcome, Question};
use super::{Answer, Entries, Error, Key, Store, Value, check_size, prefix};

/// Values in a file.
pub struct File {
    changes: mpsc::Sender<Job<Change>>,
    questions: mpsc::Sender<Job<Question>>,
    disk: Arc<Disk>,
}

/// Work, and who waits for its outcome.
struct Job<W> {
    work: W,
    done: oneshot::Sender<Result<Outcome, Error>>,
}

impl File {
    /// Opens the file, which is made where there is none, and its folder with it. Nobody else has it open from here on.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let disk = Arc::new(Disk::open(path)?);
        let (changes, changes_queue) = mpsc::channel(WAITING);
        let (questions, questions_queue) = mpsc::channel(WAITING);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name.to_owned());
            thread.spawn(run).map_err(OpenError::Thread)
        };
        let writes = Arc::clone(&disk);
        spawn(
            "state-write",
            Box::new(move || write(&writes, changes_queue)),
        )?;
        let reads = Arc::clone(&disk);
        spawn(
            "state-read",
            Box::new(move || read(&reads, questions_queue)),
        )?;
        Ok(Self {
            changes,
            questions,
            disk,
        })
    }
}

/// Commits changes until nobody can ask for any.
fn write(disk: &Disk, mut queue: mpsc::Receiver<Job<Change>>) {
    while let Some(first) = queue.blocking_recv() {
        let mut jobs = vec![first];
        while jobs.len() < TOGETHER
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        let (work, done): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.work, job.done)).unzip();
        match disk.commit(&work) {
            Ok(outcomes) => {
                for (done, outcome) in done.into_iter().zip(outcomes) {
                    // Whoever has stopped waiting was told that nothing is known of it.
                    let _ = done.send(outcome);
                }
            }
            Err(error) => {
                for done in done {
                    let _ = done.send(Err(error.clone()));
                }
            }
        }
    }
}

fn read(disk: &Disk, mut queue: mpsc::Receiver<Job<Question>>) {
    while let Some(job) = queue.blocking_recv() {
        let _ = job.done.send(disk.answer(&job.work));
    }
}

async fn ask<W>(queue: &mpsc::Sender<Job<W>>, work: W) -> Result<Outcome, Error> {
    let (done, outcome) = oneshot::channel();
    queue
        .try_send(Job { work, done })
        .map_err(|_| Error("too much waits for the file".to_owned()))?;
    match timeout(LONGEST, outcome).await {
        Ok(Ok(outcome)) => outcome,
        _ => Err(Error("the file does not answer".to_owned())),
    }
}

impl Store for File {
    fn get(&self, key: Key) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let outcome = ask(&self.questions, Question::Get(key.bytes())).await;
            outcome.map(Outcome::value)
        })
    }

    fn put(&self, key: Key, value: Value) -> Answer<'_, ()> {
        Box::pin(async move {
            check_size(&value)?;
            let change = Change::Put(key.bytes(), value);
            ask(&self.changes, change).await.map(drop)
        })
    }

    fn take(&self, key: Key) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let outcome = ask(&self.changes, Change::Take(key.bytes())).await;
            outcome.map(Outcome::value)
        })
    }

    fn swap(&self, key: Key, expected: Option<Bytes>, new: Option<Value>) -> Answer<'_, bool> {
        Box::pin(async move {
            if let Some(new) = &new {
                check_size(new)?;
            }
            let change = Change::Swap(key.bytes(), expected, new);
            let outcome = ask(&self.changes, change).await?;
            Ok(matches!(outcome, Outcome::Done(true)))
        })
    }

    fn scan(&self, group: String, at_most: usize) -> Answer<'_, Entries> {
        Box::pin(async move {
            let question = Question::Scan(prefix(&group), at_most);
            match ask(&self.questions, question).await? {
                Outcome::List(list) => Ok(list),
                Outcome::Value(_) | Outcome::Done(_) => Ok(Vec::new()),
            }
        })
    }

    fn is_ready(&self) -> bool {
        self.disk.is_open() && !self.changes.is_closed() && !self.questions.is_closed()
    }
}

/// Changes and reads that may wait.
const WAITING: usize = 4_096;
/// Changes that share a commit.
const TOGETHER: usize = 256;
/// The longest wait for the disk.
const LONGEST: Duration = Duration::from_secs(5);
