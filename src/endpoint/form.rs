//! A form that was posted to an own endpoint.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;
use url::form_urlencoded;

use crate::answer::Reject;

/// The fields of a form.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`, no more and for no longer than a form of ours takes.
    pub(super) async fn read(body: Incoming) -> Result<Self, Reject> {
        Ok(Self::parse(&read(body).await?))
    }

    /// The same of up to `most` bytes.
    pub(super) async fn read_up_to(most: usize, body: Incoming) -> Result<Self, Reject> {
        Ok(Self::parse(&read_up_to(most, body).await?))
    }

    pub(super) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The value of `name`; none where the field stands twice, since two readers could take two.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// All values of `name`, in their order.
    pub(super) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let values = self.0.iter().filter(move |(key, _)| key == name);
        values.map(|(_, value)| value.as_str())
    }
}

/// Reads a body, no more and for no longer than a form of ours takes.
pub(super) async fn read(body: Incoming) -> Result<Bytes, Reject> {
    read_up_to(LARGEST, body).await
}

pub(super) async fn read_up_to(most: usize, body: Incoming) -> Result<Bytes, Reject> {
    let unread = Reject::BadRequest("the form is too long, or did not come to its end".into());
    match timeout(LONGEST, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        _ => Err(unread),
    }
}

/// A token and a name: some hundred bytes.
const LARGEST: usize = 4_096;
/// How long a form may take to come.
const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_stands_twice_is_none() {
        let form = Form::parse(b"token=a%2Bb&session=x&session=y&empty=");
        assert_eq!(form.field("token"), Some("a+b"));
        assert_eq!(form.field("session"), None);
        assert_eq!(form.field("empty"), Some(""));
        assert_eq!(form.field("other"), None);
    }
}
