//! A polite end: every open connection is told once to finish what it does and take no more.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// One worker's open connections. A connection asks on each of its turns whether the end has begun: one
/// load, where a notification channel would cost a lock.
#[derive(Default)]
pub struct Drain {
    begun: AtomicBool,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waker>>,
}

impl Drain {
    /// Tells every connection.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in waiting.into_values() {
            waker.wake();
        }
    }

    /// Drives `connection` to its end; `finish` is called once when the drain begins.
    pub async fn watch<C: Future>(&self, connection: C, finish: impl Fn(Pin<&mut C>)) -> C::Output {
        let mut connection = std::pin::pin!(connection);
        let mut place = None;
        let mut told = false;
        std::future::poll_fn(|context: &mut Context<'_>| -> Poll<C::Output> {
            // The task's waker stays the same, so that it is noted once.
            let _ = place.get_or_insert_with(|| self.note(context.waker()));
            if !told && self.begun.load(Ordering::Acquire) {
                told = true;
                finish(connection.as_mut());
            }
            connection.as_mut().poll(context)
        })
        .await
    }

    fn note(&self, waker: &Waker) -> Noted<'_> {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place, waker.clone());
        Noted { drain: self, place }
    }
}

struct Noted<'a> {
    drain: &'a Drain,
    place: u64,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.drain
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_waiting_connection_is_told_once() {
        let drain = Arc::new(Drain::default());
        let told = Arc::new(AtomicU64::new(0));
        let connection = {
            let (drain, told) = (Arc::clone(&drain), Arc::clone(&told));
            tokio::spawn(async move {
                let sleep = tokio::time::sleep(Duration::from_millis(50));
                drain
                    .watch(sleep, |_| _ = told.fetch_add(1, Ordering::Relaxed))
                    .await;
            })
        };
        tokio::task::yield_now().await;
        drain.begin();
        connection.await.unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 1);
        assert!(drain.waiting.lock().unwrap().is_empty());
    }
}
