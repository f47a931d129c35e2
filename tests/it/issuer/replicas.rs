//! Grants at three replicas on one Redis, and at one gate without: who comes at once, who has stolen, and a new secret.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;

use super::{
    MCP, Tokens, authorize, call, client, consent_of, decide, error, parameter, redeem, renew,
    tokens_of,
};
use crate::{
    reload,
    replicas::{Street, store, wait_until_ready},
    support::{House, house::SECRET, redis::RedisServer},
};

/// Renewals with one token at once.
const AT_ONCE: usize = 100;

/// A client that the file knows, beside those that register.
const KNOWN: &str =
    "[[issuer.clients]]\nid = \"known\"\nredirect_uris = [\"http://127.0.0.1/callback\"]\n";

/// Gates that serve one address.
struct Row {
    houses: Vec<House>,
    _street: Street,
    _redis: Option<RedisServer>,
}

impl Row {
    /// Three on one Redis.
    async fn of_three() -> Self {
        let redis = RedisServer::start().await;
        let street = Street::new().await;
        let mut houses = Vec::new();
        for _ in 0..3 {
            let plan = street.plan(&store(&redis)).tables(&format!("{MCP}{KNOWN}"));
            let house = plan.secret(&format!("[\"{SECRET}\"]")).start().await;
            wait_until_ready(&house).await;
            houses.push(house);
        }
        Self {
            houses,
            _street: street,
            _redis: Some(redis),
        }
    }

    /// One by itself.
    async fn of_one() -> Self {
        let street = Street::new().await;
        let plan = street.plan("").tables(&format!("{MCP}{KNOWN}"));
        let house = plan.secret(&format!("[\"{SECRET}\"]")).start().await;
        Self {
            houses: vec![house],
            _street: street,
            _redis: None,
        }
    }

    /// The gate that the `number`th request happens to come to.
    fn at(&self, number: usize) -> &House {
        &self.houses[number % self.houses.len()]
    }

    /// A code for the client, each step at another gate.
    async fn code(&self, client: &str) -> String {
        let browser = self.at(1).browser();
        let address = authorize(self.at(1), client, &[]);
        let consent = consent_of(&browser.follow(&address).await);
        let reply = decide(&browser.moved_to(self.at(2)), &consent, "allow").await;
        let back = reply.location();
        parameter(&back, "code").unwrap_or_else(|| panic!("no code: {back}"))
    }

    async fn tokens(&self) -> Tokens {
        let client = client(self.at(0)).await;
        let code = self.code(&client).await;
        tokens_of(&client, &redeem(self.at(3), &client, &code).await)
    }

    /// The access token opens all of them.
    async fn opens(&self, access: &str) {
        for house in &self.houses {
            let reply = call(house, access, "/mcp").await;
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        }
    }

    /// Within moments the grant has ended at all of them.
    async fn has_ended(&self, tokens: &Tokens) {
        let end = Instant::now() + Duration::from_secs(5);
        for house in &self.houses {
            while call(house, &tokens.access, "/mcp").await.status != StatusCode::UNAUTHORIZED {
                assert!(Instant::now() < end, "an access token of it still counts");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let reply = renew(house, &tokens.client, &tokens.refresh).await;
            assert_eq!(error(&reply), "invalid_grant", "{}", reply.text());
        }
    }
}

/// Several processes of one program share a token, and none knows of the others.
#[tokio::test]
async fn t51_a_hundred_renewals_at_once_throw_nobody_out() {
    for row in [Row::of_three().await, Row::of_one().await] {
        let mut tokens = row.tokens().await;
        for round in 0..5 {
            let asking =
                (0..AT_ONCE).map(|number| renew(row.at(number), &tokens.client, &tokens.refresh));
            let all: Vec<_> = join_all(asking)
                .await
                .iter()
                .map(|reply| tokens_of(&tokens.client, reply))
                .collect();
            let next = &all[0];
            assert_ne!(next.refresh, tokens.refresh);
            assert!(
                all.iter().all(|other| other.refresh == next.refresh),
                "one successor, round {round}"
            );
            let calls = all.iter().enumerate();
            let calls =
                calls.map(|(number, given)| call(row.at(number + 1), &given.access, "/mcp"));
            for reply in join_all(calls).await {
                assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
            }
            tokens = next.clone();
        }
        for house in &row.houses {
            assert!(!house.process.log().contains("panicked"));
        }
    }
}

/// The thief and the client come in either order, at any of the gates.
#[tokio::test]
async fn t54_m16_a_stolen_token_that_was_replaced_ends_the_grant_everywhere() {
    for row in [Row::of_three().await, Row::of_one().await] {
        let first = row.tokens().await;
        let mut last = first.clone();
        for number in 0..3 {
            let reply = renew(row.at(number), &first.client, &last.refresh).await;
            last = tokens_of(&first.client, &reply);
        }
        row.opens(&last.access).await;
        let stolen = renew(row.at(1), &first.client, &first.refresh).await;
        let found = (stolen.status, error(&stolen));
        assert_eq!(found, (StatusCode::BAD_REQUEST, "invalid_grant".to_owned()));
        row.has_ended(&last).await;

        // The thief was faster, and the client comes late.
        let first = row.tokens().await;
        let thiefs = renew(row.at(0), &first.client, &first.refresh).await;
        let thiefs = tokens_of(&first.client, &thiefs);
        let thiefs = renew(row.at(1), &first.client, &thiefs.refresh).await;
        let thiefs = tokens_of(&first.client, &thiefs);
        let late = renew(row.at(2), &first.client, &first.refresh).await;
        assert_eq!(error(&late), "invalid_grant");
        row.has_ended(&thiefs).await;

        // A hundred thieves at once end one grant, and no other of the same user's.
        let (other, first) = (row.tokens().await, row.tokens().await);
        let next = renew(row.at(0), &first.client, &first.refresh).await;
        let next = tokens_of(&first.client, &next);
        let last = renew(row.at(1), &first.client, &next.refresh).await;
        let last = tokens_of(&first.client, &last);
        let asking =
            (0..AT_ONCE).map(|number| renew(row.at(number), &first.client, &first.refresh));
        for reply in join_all(asking).await {
            assert_eq!(error(&reply), "invalid_grant", "{}", reply.text());
        }
        row.has_ended(&last).await;
        row.opens(&other.access).await;
    }
}

/// The way of docs/sessions.md, gate by gate, while clients go on.
#[tokio::test]
async fn a_new_secret_ends_no_grant_at_any_replica() {
    const NEW: &str = "YSBuZXcgc2VjcmV0IHRoYXQgbm8gZ3JhbnQgbWluZHMgYXQgYWxs";
    let (old, both, turned, new) = (
        format!("[\"{SECRET}\"]"),
        format!("[\"{SECRET}\", \"{NEW}\"]"),
        format!("[\"{NEW}\", \"{SECRET}\"]"),
        format!("[\"{NEW}\"]"),
    );
    for row in [Row::of_three().await, Row::of_one().await] {
        let resting = row.tokens().await;
        let mut going = row.tokens().await;
        let registered = client(row.at(0)).await;
        let code = row.code("known").await;
        let mut known = tokens_of("known", &redeem(row.at(0), "known", &code).await);
        let steps: &[(&String, &String)] = if row.houses.len() == 1 {
            &[(&old, &turned)]
        } else {
            &[(&old, &both), (&both, &turned)]
        };
        for (from, to) in steps {
            for (number, house) in row.houses.iter().enumerate() {
                // What one step begins, the next ends, whichever gates have the new secret.
                let code = row.code(&registered).await;
                reload::change(house, from, to).await;
                let reply = redeem(row.at(number + 1), &registered, &code).await;
                row.opens(&tokens_of(&registered, &reply).access).await;
                for tokens in [&mut going, &mut known] {
                    row.opens(&tokens.access).await;
                    for number in 0..row.houses.len() {
                        let reply = renew(row.at(number), &tokens.client, &tokens.refresh).await;
                        *tokens = tokens_of(&tokens.client, &reply);
                    }
                    row.opens(&tokens.access).await;
                }
                row.opens(&resting.access).await;
            }
        }
        let reply = renew(row.at(0), &resting.client, &resting.refresh).await;
        row.opens(&tokens_of(&resting.client, &reply).access).await;
        // What was renewed since, by a client that has not registered under the old one, does without that.
        for house in &row.houses {
            reload::change(house, &turned, &new).await;
        }
        row.opens(&known.access).await;
        let reply = renew(row.at(1), "known", &known.refresh).await;
        row.opens(&tokens_of("known", &reply).access).await;
    }
}
