//! A store that does what it is asked, and whose first answer to a replacement is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;

use crate::{
    clock::Timestamp,
    session::{
        Id, StoreError,
        store::{Found, Record, Store},
    },
};

pub(super) struct LossyStore {
    pub(super) inner: Arc<dyn Store>,
    pub(super) has_lost: AtomicBool,
}

impl Store for LossyStore {
    fn at_hand(
        &self,
        id: &Id,
        now: Timestamp,
        read: &mut dyn FnMut(&[u8], Timestamp) -> bool,
    ) -> bool {
        self.inner.at_hand(id, now, read)
    }

    fn load<'a>(
        &'a self,
        id: &'a Id,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Found>, StoreError>> {
        self.inner.load(id, now)
    }

    fn reload<'a>(
        &'a self,
        id: &'a Id,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Found>, StoreError>> {
        self.inner.reload(id, now)
    }

    fn create<'a>(
        &'a self,
        id: &'a Id,
        record: Record,
        end: Timestamp,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.create(id, record, end, now)
    }

    fn replace<'a>(
        &'a self,
        id: &'a Id,
        record: Record,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let outcome = self.inner.replace(id, record, now).await;
            if self.has_lost.swap(true, Ordering::SeqCst) {
                outcome
            } else {
                Err(StoreError("no answer in time".to_owned()))
            }
        })
    }

    fn remove<'a>(&'a self, id: &'a Id) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.remove(id)
    }

    fn lease<'a>(
        &'a self,
        id: &'a Id,
        holder: &'a Id,
        lasts: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.lease(id, holder, lasts)
    }

    fn release<'a>(&'a self, id: &'a Id, holder: &'a Id) -> BoxFuture<'a, ()> {
        self.inner.release(id, holder)
    }

    fn is_ready(&self) -> bool {
        true
    }
}
