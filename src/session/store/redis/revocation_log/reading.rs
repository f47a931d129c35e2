//! Reads the revocations of other replicas, and checks whether Redis still has those that it was sent.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use redis::{FromRedisValue as _, Value};
use tokio::{sync::Notify, time::interval};

use super::RevocationLog;
use crate::{
    clock,
    session::{
        StoreError,
        revocation::{Kind, Revocation, Target},
        store::redis::layout::decode_revocation,
    },
};

/// How far a set was read: its newest member then, and that one's number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    member: Vec<u8>,
    number: u64,
}

/// How a set stands to what is known here.
#[derive(Debug, Default)]
struct Reading {
    /// How far it was read; none where nothing was there.
    newest: Option<Mark>,
    /// It may lack what is known here, and is to be compared in full. Stays until that was done.
    is_doubtful: bool,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Begin,
    /// At this number.
    At(u64),
    /// Behind it.
    Behind(u64),
}

impl Start {
    /// Where the page begins that follows one of which `number` is the last. It may be within those of one number: an
    /// earlier version gave the same to what came within a millisecond. But it leads on, or the reading would not end.
    fn next(self, number: u64) -> Result<Self, StoreError> {
        match self {
            Self::At(from) if number == from => Ok(Self::Behind(number)),
            Self::At(from) | Self::Behind(from) if number <= from => {
                Err(StoreError("revocations are not in order".to_owned()))
            }
            _ => Ok(Self::At(number)),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin => formatter.write_str("-inf"),
            Self::At(number) => write!(formatter, "{number}"),
            Self::Behind(number) => write!(formatter, "({number}"),
        }
    }
}

impl RevocationLog {
    /// Learns what is new. Where the set is not the one that was read before, or lacks what it was told, all of it is read,
    /// and told again what it lacks.
    async fn look(&self, reading: &mut Reading) -> Result<(), StoreError> {
        reading.is_doubtful |= self.has_overflowed() || !self.has_last_sent().await?;
        if !reading.is_doubtful {
            let mark = reading.newest.as_ref();
            let newest = self.read_on(mark, |_| {}).await?;
            if newest.is_some() || mark.is_none() {
                reading.newest = newest;
                return Ok(());
            }
            reading.is_doubtful = true;
        }
        let mut there = HashMap::new();
        let newest = self.read_on(None, |revocation| {
            let not_before = revocation.not_before;
            let known = there.entry(revocation.target).or_insert(not_before);
            *known = not_before.max(*known);
        });
        let newest = newest.await?;
        self.send_again(&there).await?;
        *reading = Reading {
            newest,
            is_doubtful: false,
        };
        Ok(())
    }

    /// Whether the last one that this replica told is there. The newest that was read shows it of all before, but not of
    /// what was told since: a failover may lose that and nothing else.
    async fn has_last_sent(&self) -> Result<bool, StoreError> {
        let Some(member) = self.last_sent().clone() else {
            return Ok(true);
        };
        let mut command = redis::cmd("ZSCORE");
        command.arg(&self.key).arg(&member);
        let is_there = self.link.send(&command).await? != Value::Nil;
        // From now on what is read shows it.
        let mut last_sent = self.last_sent();
        if last_sent.as_ref() == Some(&member) {
            *last_sent = None;
        }
        Ok(is_there)
    }

    /// Learns what is behind `mark`, or all, and shows each to `see`. None where the mark is not there; or where there is
    /// nothing at all.
    async fn read_on(
        &self,
        mark: Option<&Mark>,
        mut see: impl FnMut(Revocation),
    ) -> Result<Option<Mark>, StoreError> {
        let mut newest = mark.cloned();
        // From the mark itself: that it is still there shows that nothing was put in its place.
        let mut from = mark.map_or(Start::Begin, |mark| Start::At(mark.number));
        let mut is_there = mark.is_none();
        loop {
            let page = self.page(from).await?;
            is_there = is_there || page.iter().any(|member| Some(member) == mark);
            if !is_there {
                return Ok(None);
            }
            for revocation in page.iter().filter_map(|one| decode_revocation(&one.member)) {
                see(revocation);
                match (self.kind, revocation.target) {
                    // It stands for those that were let go of.
                    (Kind::Unsigned, Target::Everybody) | (Kind::Vouched | Kind::Grants, _) => {
                        self.revocations.learn(revocation)
                    }
                    (Kind::Unsigned, _) => self.revocations.learn_unsigned(revocation),
                };
            }
            let is_last = page.len() < PAGE;
            newest = page.into_iter().last().or(newest);
            match &newest {
                Some(newest) if !is_last => from = from.next(newest.number)?,
                _ => return Ok(newest),
            }
        }
    }

    async fn page(&self, from: Start) -> Result<Vec<Mark>, StoreError> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(&self.key).arg(from.to_string()).arg("+inf");
        command.arg("WITHSCORES").arg("LIMIT").arg(0).arg(PAGE);
        let answer = self.link.send(&command).await?;
        let page = Vec::<(Vec<u8>, f64)>::from_redis_value(answer);
        let page = page.map_err(|_| StoreError("revocations are no list".to_owned()))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "milliseconds since 1970"
        )]
        let mark = |(member, number)| Mark {
            member,
            number: number as u64,
        };
        Ok(page.into_iter().map(mark).collect())
    }

    /// How many count: the others are let go of with the next one that comes.
    async fn count(&self) -> Result<u64, StoreError> {
        let lifetime = self.lifetime.as_secs();
        let since = clock::now().0.saturating_sub(lifetime) * 1_000;
        let mut command = redis::cmd("ZCOUNT");
        command.arg(&self.key).arg(since).arg("+inf");
        match self.link.send(&command).await? {
            Value::Int(count) => Ok(count.unsigned_abs()),
            _ => Err(StoreError("revocations are no list".to_owned())),
        }
    }
}

/// Learns all at first, and what is new from then on: every two seconds, and when something may have been missed.
pub(in crate::session::store::redis) async fn learn(logs: [RevocationLog; 3], missed: Arc<Notify>) {
    let mut beat = interval(BEAT);
    let mut readings = [Reading::default(), Reading::default(), Reading::default()];
    loop {
        tokio::select! {
            () = missed.notified() => {}
            _ = beat.tick() => {}
        }
        if let Err(error) = learn_each(&logs, &mut readings).await {
            tracing::debug!(%error, "revocations of other replicas cannot be learnt");
        }
    }
}

async fn learn_each(
    logs: &[RevocationLog; 3],
    readings: &mut [Reading; 3],
) -> Result<(), StoreError> {
    for (log, reading) in logs.iter().zip(readings) {
        log.look(reading).await?;
        if log.kind == Kind::Unsigned {
            log.revocations.note_unsigned_elsewhere(log.count().await?);
        }
    }
    logs[0].revocations.mark_synced();
    Ok(())
}

/// How often new revocations are read. With the duration of a read it is less than five seconds.
const BEAT: Duration = Duration::from_secs(2);
/// Revocations that are read at once.
const PAGE: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_leads_on() {
        use Start::{At, Begin, Behind};
        for (from, last, expected) in [
            (Begin, 5, Some(At(5))),
            (At(5), 9, Some(At(9))),
            (At(5), 5, Some(Behind(5))),
            (Behind(5), 9, Some(At(9))),
            (Behind(5), 5, None),
            (At(5), 4, None),
        ] {
            assert_eq!(from.next(last).ok(), expected, "{from:?} {last}");
        }
        let texts = [Begin, At(5), Behind(5)].map(|from| from.to_string());
        assert_eq!(texts, ["-inf", "5", "(5"]);
    }
}
