//! Bounds what clients that nobody vouches for have wait for their users, over all replicas: anybody may register, and ask from many
//! addresses. All of them together fill a part of a store, by number and by bytes, and the rest is for others.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    kv::{self, Store, Table},
    random,
};

/// What they have put into a store lately.
pub(super) struct Strangers {
    counts: Table<Count>,
    /// How long each thing waits.
    lasts: Duration,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Count {
    number: u32,
    bytes: u64,
    /// New at each change: two changes to the same value would be taken for one.
    change: [u8; 8],
}

impl Strangers {
    /// Of things that wait for so long, counted in this group of `store`.
    pub(super) fn new(store: Arc<dyn Store>, group: &'static str, lasts: Duration) -> Self {
        Self {
            counts: Table::new(store, group, 2),
            lasts,
        }
    }

    /// Takes room for one more thing of so many bytes.
    ///
    /// # Errors
    /// When there is none, or the store does not answer.
    pub(super) async fn take(&self, bytes: usize, now: Timestamp) -> Result<(), kv::Error> {
        let window = (now.0 / self.lasts.as_secs()).to_be_bytes();
        let end = now.after(self.lasts * 2);
        let taken = self.counts.update(&window, |known| {
            let known = known.unwrap_or_default();
            let counted = Count {
                number: known.number + 1,
                bytes: known.bytes.saturating_add(bytes as u64),
                change: random::bytes(),
            };
            if counted.number > MOST || counted.bytes > MOST_BYTES {
                return (None, false);
            }
            (Some((counted, end)), true)
        });
        if taken.await? {
            return Ok(());
        }
        let why = "clients that nobody vouches for have too much wait for their users";
        Err(kv::Error(why.to_owned()))
    }
}

/// Requests that clients nobody vouches for push in ten minutes, all together and over all replicas; and as many programs that wait.
const MOST: u32 = 4_000;
/// The bytes of these requests, and of these programs. Those of two times ten minutes may wait at once.
const MOST_BYTES: u64 = 3_500_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const LASTS: Duration = Duration::from_mins(10);

    fn strangers() -> Strangers {
        Strangers::new(Arc::new(kv::Memory::default()), "counts", LASTS)
    }

    #[tokio::test]
    async fn they_have_room_by_number_and_by_bytes_for_a_while() {
        let now = clock::now();
        for (bytes, most) in [(1, MOST as usize), (500_000, 7), (usize::MAX, 0)] {
            let strangers = strangers();
            for number in 0..most {
                assert!(strangers.take(bytes, now).await.is_ok(), "{number}");
            }
            assert!(strangers.take(bytes, now).await.is_err());
            assert_eq!(strangers.take(1, now.after(LASTS)).await, Ok(()));
        }
    }
}
