//! Revocations, told to the other replicas and learnt from them.
//!
//! They stand in two sorted sets, those that nobody signed apart, numbered in the order in which Redis took them. One that
//! was told is in its set or still tried; those of others are heard of at once and looked for every two seconds. So none
//! is lost to a message that is. A look reads on behind the newest one that is known, however many there are; where that
//! one is not where it was, the set is another's (a failover, a restart) or was let go of, and all of it is read again.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use redis::{FromRedisValue as _, Value};
use tokio::{
    sync::{Notify, mpsc},
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    layout::{Message, decode_revocation, encode_revocation},
    link::Link,
    script,
};
use crate::{
    clock,
    session::{
        revocation::{Revocation, Revocations},
        store::StoreError,
    },
};

/// Which revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// That somebody vouches for.
    Vouched,
    /// That nobody signed.
    Unsigned,
}

impl Kind {
    /// What follows the key's name.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Vouched => "",
            Self::Unsigned => ":unsigned",
        }
    }
}

/// A set of revocations of one gate's replicas.
#[derive(Clone)]
pub(super) struct News {
    pub(super) link: Arc<Link>,
    pub(super) kind: Kind,
    pub(super) key: String,
    pub(super) channel: String,
    pub(super) revocations: Arc<Revocations>,
    /// For how long one counts.
    pub(super) lifetime: Duration,
}

/// How far a set was read: its newest member then, and that one's number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    member: Vec<u8>,
    number: u64,
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

impl News {
    /// Tells what comes through the queue, each until Redis has it. When stopped, what waits still.
    pub(super) async fn tell(self, mut queue: mpsc::Receiver<Revocation>, stop: CancellationToken) {
        loop {
            let next = tokio::select! {
                biased;
                next = queue.recv() => next,
                () = stop.cancelled() => None,
            };
            let Some(revocation) = next else {
                return;
            };
            let mut pause = FIRST_PAUSE;
            while let Err(error) = self.tell_one(&revocation).await {
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, "a revocation waits until Redis takes it");
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            if self.kind == Kind::Vouched {
                self.revocations.told();
            }
        }
    }

    async fn tell_one(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let capacity = self.revocations.capacity();
        let (message, most, surplus) = match self.kind {
            Kind::Vouched => {
                let most = capacity.vouched;
                (Message::Revoked(*revocation), most, most.div_ceil(100))
            }
            Kind::Unsigned => {
                let most = capacity.unsigned_at_most();
                (Message::RevokedUnsigned(*revocation), most, 0)
            }
        };
        let (member, message) = (encode_revocation(revocation), message.encode());
        let [lifetime, most, surplus] = [self.lifetime.as_millis(), most.into(), surplus.into()]
            .map(|number| number.to_string());
        let arguments: [&[u8]; 6] = [
            &member,
            lifetime.as_bytes(),
            self.channel.as_bytes(),
            &message,
            most.as_bytes(),
            surplus.as_bytes(),
        ];
        let answer = self
            .link
            .run(&script::REVOKE, &self.key, &arguments)
            .await?;
        match answer {
            Value::Int(0) => tracing::error!(
                "a front-channel logout is not told to the other replicas: too many are remembered"
            ),
            Value::Int(2) => tracing::error!(
                limit = capacity.vouched,
                "too many revocations: the oldest are forgotten, and every session of before has ended with them"
            ),
            _ => {}
        }
        Ok(())
    }

    /// Learns what is behind `mark`, or all. Gives how far that is.
    async fn learn_behind(&self, mark: Option<&Mark>) -> Result<Option<Mark>, StoreError> {
        let Some(mark) = mark else {
            return self.read_on(None, |_| {}).await;
        };
        if let Some(newest) = self.read_on(Some(mark), |_| {}).await? {
            return Ok(Some(newest));
        }
        let mut there = HashMap::new();
        let newest = self.read_on(None, |revocation| {
            let not_before = revocation.not_before;
            let known = there.entry(revocation.target).or_insert(not_before);
            *known = not_before.max(*known);
        });
        let newest = newest.await?;
        if self.kind == Kind::Vouched {
            let lost = self
                .revocations
                .tell_again(&there, self.lifetime, clock::now());
            if lost > 0 {
                tracing::warn!(lost, "Redis has lost revocations, and is told them again");
            }
        }
        Ok(newest)
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
                match self.kind {
                    Kind::Vouched => self.revocations.learn(revocation),
                    Kind::Unsigned => self.revocations.learn_unsigned(revocation),
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

    async fn count(&self) -> Result<u64, StoreError> {
        let mut command = redis::cmd("ZCARD");
        command.arg(&self.key);
        match self.link.send(&command).await? {
            Value::Int(count) => Ok(count.unsigned_abs()),
            _ => Err(StoreError("revocations are no list".to_owned())),
        }
    }
}

/// Learns all at first, and what is new from then on: every two seconds, and when something may have been missed.
pub(super) async fn learn([vouched, unsigned]: [News; 2], missed: Arc<Notify>) {
    let mut beat = interval(BEAT);
    let mut marks = [None, None];
    loop {
        tokio::select! {
            () = missed.notified() => {}
            _ = beat.tick() => {}
        }
        if let Err(error) = learn_both([&vouched, &unsigned], &mut marks).await {
            tracing::debug!(%error, "revocations of other replicas cannot be learnt");
        }
    }
}

async fn learn_both(
    [vouched, unsigned]: [&News; 2],
    [mark, unsigned_mark]: &mut [Option<Mark>; 2],
) -> Result<(), StoreError> {
    *mark = vouched.learn_behind(mark.as_ref()).await?;
    *unsigned_mark = unsigned.learn_behind(unsigned_mark.as_ref()).await?;
    let revocations = &vouched.revocations;
    revocations.note_unsigned_elsewhere(unsigned.count().await?);
    revocations.caught_up();
    Ok(())
}

/// How often new ones are looked for. With what a look may take, less than five seconds.
const BEAT: Duration = Duration::from_secs(2);
/// Revocations asked for at once.
const PAGE: usize = 2_000;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
