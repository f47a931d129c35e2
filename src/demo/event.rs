//! A clock as server-sent events: shows that nothing between app and browser buffers.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{page::harden, server::Response};
use crate::clock::{self, Timestamp};

/// An endless answer: the time in UTC at once, and again each second.
pub(super) fn clock() -> Response {
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let body = Clock { tick }.map_err(|never| match never {}).boxed();
    let mut response = http::Response::new(body);
    harden(&mut response);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

struct Clock {
    tick: Interval,
}

impl hyper::body::Body for Clock {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.tick
            .poll_tick(context)
            .map(|_| Some(Ok(Frame::data(event(clock::now()).into()))))
    }
}

/// One event in the stream's syntax (HTML Living Standard §9.2.6).
fn event(now: Timestamp) -> String {
    let second_of_day = now.0 % 86_400;
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    format!("data: {hour:02}:{minute:02}:{second:02} UTC\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_the_time_of_day() {
        assert_eq!(event(Timestamp(0)), "data: 00:00:00 UTC\n\n");
        assert_eq!(event(Timestamp(1_700_000_000)), "data: 22:13:20 UTC\n\n");
    }
}
