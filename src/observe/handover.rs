//! Hands the record of a request to the tunnel that it opens, so that its line is written when the tunnel ends.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::Record;

/// Where a record goes on. Travels in the extensions of a `101`, which have to be `Clone`; only the first `give` counts.
#[derive(Clone, Debug)]
pub struct Handover(Arc<Mutex<Option<oneshot::Sender<Box<Record>>>>>);

/// A way for a record from the answer's head to whatever carries the tunnel. A receiver that is dropped ends the request.
pub fn handover() -> (Handover, oneshot::Receiver<Box<Record>>) {
    let (sender, receiver) = oneshot::channel();
    (Handover(Arc::new(Mutex::new(Some(sender)))), receiver)
}

impl Handover {
    /// Hands the record on.
    pub fn give(self, record: Box<Record>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // Comes back, and ends here, where nobody carries a tunnel any more.
            drop(sender.send(record));
        }
    }
}
