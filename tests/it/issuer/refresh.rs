//! Refresh tokens: rotated, patient with those who are late, and an alarm.

use http::StatusCode;

use super::{call, client, error, home, home_with, post, renew, tokens, tokens_of};

#[tokio::test]
async fn t50_both_tokens_change_and_work() {
    let home = home().await;
    let house = &home.house;
    let first = tokens(house).await;
    let second = tokens_of(
        &first.client,
        &renew(house, &first.client, &first.refresh).await,
    );
    assert_ne!(second.access, first.access);
    assert_ne!(second.refresh, first.refresh);
    for token in [&first.access, &second.access] {
        assert_eq!(call(house, token, "/mcp").await.status, StatusCode::OK);
    }
    assert_eq!(
        renew(house, &first.client, &second.refresh).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn t51_m16_all_who_come_at_once_get_the_same() {
    let home = home().await;
    let house = &home.house;
    let first = tokens(house).await;
    let all =
        futures_util::future::join_all((0..6).map(|_| renew(house, &first.client, &first.refresh)))
            .await;
    let mut next: Vec<_> = all
        .iter()
        .map(|reply| tokens_of(&first.client, reply).refresh)
        .collect();
    next.dedup();
    assert_eq!(next.len(), 1, "one successor");
    let last = renew(house, &first.client, &next[0]).await;
    assert_eq!(last.status, StatusCode::OK, "{}", last.text());
}

#[tokio::test]
async fn t54_a_token_that_was_replaced_before_ends_the_grant() {
    let home = home().await;
    let house = &home.house;
    let first = tokens(house).await;
    let second = tokens_of(
        &first.client,
        &renew(house, &first.client, &first.refresh).await,
    );
    let third = tokens_of(
        &first.client,
        &renew(house, &first.client, &second.refresh).await,
    );
    let stolen = renew(house, &first.client, &first.refresh).await;
    assert_eq!(
        (stolen.status, error(&stolen).as_str()),
        (StatusCode::BAD_REQUEST, "invalid_grant")
    );
    assert_eq!(
        error(&renew(house, &first.client, &third.refresh).await),
        "invalid_grant"
    );
    assert_eq!(
        call(house, &third.access, "/mcp").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn t52_neither_resource_nor_scope_nor_client_widens() {
    let home = home().await;
    let house = &home.house;
    let first = tokens(house).await;
    let other = client(house).await;
    for (name, value, expected) in [
        ("resource", "https://other.example/", "invalid_target"),
        ("scope", "mcp admin", "invalid_scope"),
        ("client_id", &*other, "invalid_grant"),
        ("refresh_token", "sgr_x", "invalid_grant"),
        ("refresh_token", "", "invalid_request"),
    ] {
        let mut fields = vec![
            ("grant_type", "refresh_token"),
            ("client_id", &*first.client),
            ("refresh_token", &*first.refresh),
        ];
        fields.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            fields.push((name, value));
        }
        let reply = post(house, "/oauth2/token", &fields).await;
        assert_eq!(error(&reply), expected, "{name}={value}");
    }
    assert_eq!(
        renew(house, &first.client, &first.refresh).await.status,
        StatusCode::OK
    );
}

/// Nobody is logged out by a new secret, nor by a new start where the state is in a file.
#[tokio::test]
async fn grants_outlive_the_secret_and_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = format!(
        "state = \"file:{}\"",
        folder.path().join("state.redb").display()
    );
    let home = home_with(super::MCP, |plan| plan.top(&state)).await;
    let first = tokens(&home.house).await;
    let (address, public_url) = (home.house.address, home.house.public_url.clone());
    let super::Home {
        house,
        upstream,
        provider,
    } = home;
    drop(house);
    let secrets = format!(
        "[\"{}\", \"{}\"]",
        "another-secret-that-is-long-enough-8f3c1c3e6d0e4f0b",
        crate::support::house::SECRET
    );
    let plan = crate::support::House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .top(&state)
        .tables(super::MCP);
    let house = plan
        .public_url(&public_url)
        .secret(&secrets)
        .start_at(address)
        .await;
    assert_eq!(
        call(&house, &first.access, "/mcp").await.status,
        StatusCode::OK
    );
    let second = tokens_of(
        &first.client,
        &renew(&house, &first.client, &first.refresh).await,
    );
    assert_eq!(
        call(&house, &second.access, "/mcp").await.status,
        StatusCode::OK
    );
}

/// T55
#[tokio::test]
async fn t55_a_provider_that_is_away_ends_no_grant() {
    let home = home().await;
    let first = tokens(&home.house).await;
    let super::Home {
        house, provider, ..
    } = home;
    drop(provider);
    assert_eq!(
        renew(&house, &first.client, &first.refresh).await.status,
        StatusCode::OK
    );
}
