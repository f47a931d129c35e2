//! `sidegate import oauth2-proxy`: what comes out passes `sidegate check`, and nothing is left out in silence.

use std::{fs, path::Path, process::Output};

use super::text;
use crate::support::house::sidegate;

/// Everything an example needs but what it is about.
const COMMON: &str = "client_id = \"app\"
client_secret = \"the-secret-of-the-app\"
cookie_secret = \"OQINaROshtE9TcZkNAm-5Zs2Pv3xaWytBX5W7sGX7ws=\"
redirect_url = \"https://app.example.com/oauth2/callback\"
";

#[derive(Default)]
struct Given<'a> {
    /// Files beside the configuration, which is `proxy.cfg`.
    files: &'a [(&'a str, &'a str)],
    arguments: &'a [&'a str],
    environment: &'a [(&'a str, &'a str)],
}

struct Imported {
    code: i32,
    toml: String,
    told: String,
}

fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = sidegate();
    for (name, _) in std::env::vars() {
        if name.starts_with("OAUTH2_PROXY_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(folder)
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs")
}

/// Imports, and checks what came out where anything did.
fn import(given: &Given<'_>) -> Imported {
    let folder = tempfile::tempdir().expect("a directory");
    for (name, content) in given.files {
        fs::write(folder.path().join(name), content).expect("the file is written");
    }
    let own =
        rcgen::generate_simple_self_signed(["app.example.com".to_owned()]).expect("a certificate");
    fs::write(folder.path().join("tls.crt"), own.cert.pem()).expect("the file is written");
    fs::write(
        folder.path().join("tls.key"),
        own.signing_key.serialize_pem(),
    )
    .expect("the file is written");
    let arguments = [&["import", "oauth2-proxy"][..], given.arguments].concat();
    let output = run(folder.path(), &arguments, given.environment);
    let imported = Imported {
        code: output.status.code().expect("a code"),
        toml: text(&output.stdout),
        told: text(&output.stderr),
    };
    if imported.code == 2 {
        assert_eq!(imported.toml, "", "{}", imported.told);
    } else {
        fs::write(folder.path().join("sidegate.toml"), &imported.toml)
            .expect("the file is written");
        let checked = run(folder.path(), &["check"], given.environment);
        assert!(
            checked.status.success(),
            "{}\n{}",
            imported.toml,
            text(&checked.stderr)
        );
    }
    imported
}

fn import_file(content: &str) -> Imported {
    import(&Given {
        files: &[("proxy.cfg", content)],
        arguments: &["proxy.cfg"],
        ..Given::default()
    })
}

/// An example, how it ends, what the configuration has, and what is told.
type Example<'a> = (&'a str, i32, &'a [&'a str], &'a [&'a str]);

/// Each against the common lines; one that begins with `!` has to be absent.
fn hold(examples: &[Example<'_>]) {
    for (content, code, lines, told) in examples {
        let imported = import_file(&format!("{COMMON}{content}"));
        let all = format!("{content}\n=>\n{}\n{}", imported.toml, imported.told);
        assert_eq!(imported.code, *code, "{all}");
        for line in *lines {
            match line.strip_prefix('!') {
                Some(line) => assert!(!imported.toml.contains(line), "{line} in {all}"),
                None => assert!(imported.toml.contains(line), "{line} not in {all}"),
            }
        }
        for words in *told {
            assert!(imported.told.contains(words), "{words} not in {all}");
            // The same at the top of the file.
            let (_, words) = words.split_once(": ").unwrap_or(("", words));
            assert!(imported.toml.contains(words), "{words} not in {all}");
        }
    }
}

const PROVIDERS: &[Example<'static>] = &[
    (
        "email_domains = [\"example.com\"]",
        0,
        &[
            "[providers.google]",
            "allow = { domains = [\"example.com\"] }",
            "client_secret = \"the-secret-of-the-app\"",
            "public_url = \"https://app.example.com\"",
            "secret = \"OQINaROshtE9TcZkNAm-5Zs2Pv3xaWytBX5W7sGX7ws=\"",
            "listen = \"127.0.0.1:4180\"",
            "preset = \"oauth2-proxy\"",
        ],
        &["to do: redirect_url: register https://app.example.com/oauth2/callback/google"],
    ),
    (
        "provider = \"google\"\nemail_domains = \"*\"\ngoogle_groups = [\"eng@example.com\"]\ngoogle_admin_email = \"root@example.com\"\ngoogle_service_account_json = \"/sa.json\"",
        0,
        &["allow = { groups = [\"eng@example.com\"] }"],
        &["not needed: google_service_account_json: "],
    ),
    (
        "provider = \"github\"\nemail_domains = [\"*\"]\ngithub_org = \"acme\"\ngithub_team = \"ops,web\"",
        0,
        &[
            "[providers.github]",
            "allow = { teams = [\"acme/ops\", \"acme/web\"] }",
            "X-Forwarded-User = \"user\"",
        ],
        &["not needed: github_org: "],
    ),
    (
        "provider = \"github\"\nemail_domains = [\"*\"]\ngithub_org = \"acme\"\ngithub_users = [\"ann\"]",
        0,
        &[
            "allow = \"anyone\"",
            "any = [{ orgs = [\"acme\"] }, { users = [\"ann\"] }]",
        ],
        &[],
    ),
    (
        "provider = \"github\"\nemail_domains = [\"*\"]\ngithub_repo = \"acme/app\"\ngithub_token = \"t\"",
        3,
        &["allow = { claims = { nobody = [\"nobody@example.invalid\"] } }"],
        &[
            "no equivalent: github_repo: ",
            "no equivalent: github_token: ",
        ],
    ),
    (
        "provider = \"github\"\nemail_domains = [\"*\"]\nlogin_url = \"https://ghe.example.com/login/oauth/authorize\"\nredeem_url = \"https://ghe.example.com/login/oauth/access_token\"\nvalidate_url = \"https://ghe.example.com/api/v3\"",
        0,
        &["base_url = \"https://ghe.example.com\"", "!authorize_url"],
        &[],
    ),
    (
        "provider = \"gitlab\"\nemail_domains = [\"*\"]\noidc_issuer_url = \"https://git.example.com\"\ngitlab_groups = [\"acme/web\"]",
        0,
        &[
            "base_url = \"https://git.example.com\"",
            "allow = { groups = [\"acme/web\"] }",
        ],
        &[],
    ),
    (
        "provider = \"entra-id\"\nemail_domains = [\"*\"]\noidc_issuer_url = \"https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0\"\nallowed_groups = [\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"]",
        0,
        &[
            "[providers.microsoft]",
            "issuer = \"https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0\"",
        ],
        &[],
    ),
    (
        "provider = \"entra-id\"\nemail_domains = [\"*\"]\noidc_issuer_url = \"https://login.microsoftonline.com/common/v2.0\"\ninsecure_oidc_skip_issuer_verification = true\nentra_id_allowed_tenants = [\"11111111-2222-3333-4444-555555555555\"]",
        3,
        &[
            "!issuer =",
            "tenants = [\"11111111-2222-3333-4444-555555555555\"]",
        ],
        &["no equivalent: insecure_oidc_skip_issuer_verification: "],
    ),
    (
        "provider = \"azure\"\nemail_domains = [\"*\"]\nazure_tenant = \"11111111-2222-3333-4444-555555555555\"",
        0,
        &[
            "issuer = \"https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0\"",
        ],
        &[],
    ),
    (
        "provider = \"azure\"\nemail_domains = [\"*\"]",
        0,
        &["[providers.microsoft]", "allow = \"anyone\""],
        &["to do: allow: accounts of any tenant pass"],
    ),
    (
        "provider = \"keycloak-oidc\"\nemail_domains = [\"*\"]\noidc_issuer_url = \"https://id.example.com/realms/acme\"\nallowed_roles = [\"admin\", \"app:editor\"]\nallowed_groups = [\"/staff\"]\ncode_challenge_method = \"S256\"",
        0,
        &[
            "[providers.keycloak]",
            "type = \"oidc\"",
            "claims_from = [\"id_token\", \"userinfo\", \"access_token\"]",
            "{ groups = [\"/staff\"] }",
            "{ claims = { \"realm_access.roles\" = [\"admin\"] } }",
            "{ claims = { \"resource_access.app.roles\" = [\"editor\"] } }",
        ],
        &["not needed: code_challenge_method: "],
    ),
    (
        "provider = \"keycloak\"\nemail_domains = [\"*\"]\nlogin_url = \"https://id.example.com/auth/realms/acme/protocol/openid-connect/auth\"\nredeem_url = \"https://id.example.com/auth/realms/acme/protocol/openid-connect/token\"\nprofile_url = \"https://id.example.com/auth/realms/acme/protocol/openid-connect/userinfo\"",
        0,
        &["issuer = \"https://id.example.com/auth/realms/acme\""],
        &[],
    ),
    (
        "provider = \"oidc\"\nemail_domains = [\"example.com\", \"*.example.org\"]\noidc_issuer_url = \"http://dex:5556/dex\"\nscope = \"openid email groups\"\nprompt = \"login\"\nprovider_display_name = \"Dex\"\noidc_groups_claim = \"roles\"\nskip_oidc_discovery = true\nlogin_url = \"http://dex:5556/dex/auth\"\nredeem_url = \"http://dex:5556/dex/token\"\noidc_jwks_url = \"http://dex:5556/dex/keys\"",
        0,
        &[
            "[providers.oidc]",
            "issuer = \"http://dex:5556/dex\"",
            "insecure_http = true",
            "scopes = [\"openid\", \"email\", \"groups\"]",
            "authorize_params = { prompt = \"login\" }",
            "label = \"Dex\"",
            "claims = { groups = \"roles\" }",
            "token_url = \"http://dex:5556/dex/token\"",
            "allow = { domains = [\"example.com\", \".example.org\"] }",
        ],
        &[
            "not needed: skip_oidc_discovery: ",
            "to do: insecure_http: ",
        ],
    ),
    (
        "provider = \"oidc\"\nemail_domains = [\"*\"]\noidc_issuer_url = \"https://id.example.com\"\nuser_id_claim = \"upn\"\nprovider_ca_files = [\"tls.crt\"]\nbackend_logout_url = \"https://id.example.com/logout?id_token_hint={id_token}\"",
        0,
        &[
            "claims = { email = \"upn\" }",
            "ca = \"tls.crt\"",
            "end_session_url = \"https://id.example.com/logout\"",
        ],
        &["to do: user_id_claim: "],
    ),
    (
        "provider = \"adfs\"\nemail_domains = [\"*\"]\noidc_issuer_url = \"https://adfs.example.com/adfs\"\nresource = \"urn:app\"",
        0,
        &[
            "[providers.adfs]",
            "authorize_params = { resource = \"urn:app\" }",
        ],
        &[],
    ),
    (
        "provider = \"facebook\"\nemail_domains = [\"*\"]",
        0,
        &["[providers.facebook]"],
        &[],
    ),
    (
        "provider = \"digitalocean\"\nemail_domains = [\"example.com\"]",
        0,
        &[
            "type = \"oauth2\"",
            "userinfo_url = \"https://api.digitalocean.com/v2/account\"",
        ],
        &[],
    ),
    (
        "provider = \"linkedin\"\nemail_domains = [\"*\"]",
        0,
        &["issuer = \"https://www.linkedin.com/oauth\""],
        &["to do: provider: "],
    ),
    (
        "provider = \"bitbucket\"\nemail_domains = [\"*\"]\nbitbucket_team = \"acme\"",
        3,
        &["nobody@example.invalid"],
        &["no equivalent: bitbucket_team: "],
    ),
    (
        // Who is of the team is not known here, so an address lets nobody in for it.
        "provider = \"bitbucket\"\nemail_domains = [\"example.com\"]\nbitbucket_team = \"acme\"",
        3,
        &["nobody@example.invalid"],
        &["no equivalent: bitbucket_team: "],
    ),
    (
        "provider = \"nextcloud\"\nemail_domains = [\"*\"]\nlogin_url = \"https://c.example.com/index.php/apps/oauth2/authorize\"\nredeem_url = \"https://c.example.com/index.php/apps/oauth2/api/v1/token\"\nvalidate_url = \"https://c.example.com/ocs/v2.php/cloud/user?format=json\"\nallowed_groups = [\"staff\"]",
        0,
        &[
            "userinfo_url = \"https://c.example.com/ocs/v2.php/cloud/user?format=json\"",
            "allow = { groups = [\"staff\"] }",
        ],
        &[],
    ),
    (
        "provider = \"cidaas\"\nemail_domains = [\"*\"]\noidc_issuer_url = \"https://x.cidaas.de\"",
        0,
        &["[providers.cidaas]"],
        &[],
    ),
    (
        "provider = \"sourcehut\"\nemail_domains = [\"*\"]",
        3,
        &["[providers.sourcehut]"],
        &["no equivalent: provider: "],
    ),
    (
        "provider = \"login.gov\"\nemail_domains = [\"*\"]\njwt_key_file = \"/key.pem\"\npubjwk_url = \"https://secure.login.gov/api/openid_connect/certs\"\nacr_values = \"http://idmanagement.gov/ns/assurance/ial/1\"",
        3,
        &[
            "[providers.login-gov]",
            "authorize_params = { acr_values = ",
        ],
        &["no equivalent: jwt_key_file: "],
    ),
    (
        "provider = \"oidc\"\nemail_domains = [\"*\"]",
        3,
        &[],
        &["no equivalent: oidc_issuer_url: "],
    ),
];

#[test]
fn each_provider_has_a_table() {
    hold(PROVIDERS);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn apps_and_paths_become_routes() {
    let end = "\nemail_domains = [\"*\"]\n";
    let with = |content: &str| format!("{content}{end}");
    let contents = [
        "upstreams = [\"http://127.0.0.1:8080/\"]\nupstream_timeout = \"5m\"\nflush_interval = \"1s\"\ndisable_keep_alives = true",
        "upstreams = [\"http://web:80/\", \"http://api:8080/api/\", \"http://api:8080/api/v2/\", \"http://one:1/exact\"]",
        "upstreams = [\"http://api:8080/api/\"]",
        "upstreams = [\"unix:///run/app.sock\"]\npass_host_header = true",
        "upstreams = [\"https://app.internal:8443/\"]\npass_host_header = false\nssl_upstream_insecure_skip_verify = true\nproxy_websockets = false",
        "upstreams = [\"static://202\"]\nset_xauthrequest = true\nreverse_proxy = true\ntrusted_proxy_ips = [\"10.0.0.1/8\"]",
        "upstreams = [\"http://web/\", \"file:///var/www/static#/static/\"]",
        "upstreams = [\"http://web/\"]\nskip_auth_routes = [\"GET=^/public\", \"^/health$\", \"POST=^/(hook|ping)s?$\", \"\\\\.(css|js)$\"]",
        "upstreams = [\"http://web/\"]\nskip_auth_routes = [\"GET=^/items/[0-9]+$\", \"^/favicon.ico$\"]\nskip_auth_regex = [\"^/ping$\", \"^/oauth2/x$\"]",
        "upstreams = [\"http://web/\", \"http://api/api/\"]\nskip_auth_routes = [\"^/api/open/\", \"\\\\.css$\"]\napi_routes = [\"^/api/\"]\nskip_auth_preflight = true",
        "upstreams = [\"http://web/\"]\nskip_auth_routes = [\"!=^/api\", \"POST=^/api/open/?$\"]\napi_routes = [\"^/api/v1\"]",
        "upstreams = [\"http://web/\"]\nskip_auth_routes = [\"!=^/a/\", \"!=^/b/\"]",
        "upstreams = [\"http://web/\"]\nforce_json_errors = true",
    ]
    .map(with);
    let [
        one,
        several,
        only,
        socket,
        host,
        none,
        files,
        skip,
        unsaid,
        cross,
        negated,
        two,
        json,
    ] = contents.each_ref().map(String::as_str);
    hold(&[
        (
            one,
            0,
            &[
                "upstream = \"http://127.0.0.1:8080\"",
                "upstream_timeout = \"5m\"",
                "upstream_reuse = false",
                "![[routes]]",
            ],
            &["not needed: flush_interval: "],
        ),
        (
            several,
            0,
            &[
                "upstream = \"http://web\"",
                "[upstreams.api]\nurl = \"http://api:8080\"",
                "[[routes]]\npath = \"/api/v2/**\"\nupstream = \"api-v2\"\n\n[[routes]]\npath = \"/exact\"\nupstream = \"exact\"\n\n[[routes]]\npath = \"/api/**\"\nupstream = \"api\"\n",
            ],
            &[],
        ),
        (
            only,
            0,
            &["upstream = \"api\"", "path = \"/**\"\naccess = \"deny\""],
            &[],
        ),
        (
            socket,
            0,
            &["upstream = \"unix:/run/app.sock\""],
            &["not needed: pass_host_header: "],
        ),
        (
            host,
            3,
            &[
                "[upstreams.app]\nurl = \"https://app.internal:8443\"\nhost = \"upstream\"",
                "path = \"/**\"\nupstream = \"app\"",
            ],
            &[
                "no equivalent: upstreams[0]: an app's certificate",
                "no equivalent: upstreams[0]: WebSockets",
            ],
        ),
        (
            none,
            0,
            &[
                "upstream = \"http://127.0.0.1:9\"",
                "trusted_proxies = [\"10.0.0.0/8\"]",
            ],
            &["to do: upstreams[0]: "],
        ),
        (
            files,
            3,
            &["upstream = \"http://web\""],
            &["no equivalent: upstreams[1]: the gate serves no files"],
        ),
        (
            skip,
            0,
            &[
                "path = \"/public*/**\"\nmethods = [\"GET\"]\naccess = \"public\"",
                "path = \"/health\"\naccess = \"public\"",
                "path = \"/hooks\"\nmethods = [\"POST\"]",
                "path = \"/**/*.css\"\naccess = \"public\"",
            ],
            &[],
        ),
        (
            unsaid,
            3,
            &[
                "path = \"/favicon.ico\"",
                "its dots are taken as dots",
                "!path = \"/items",
                "!path = \"/ping\"",
            ],
            &[
                "no equivalent: skip_auth_routes GET=^/items/[0-9]+$: ",
                "not needed: skip_auth_regex ^/oauth2/x$: ",
            ],
        ),
        (
            cross,
            0,
            &[
                "path = \"/api/open/*/**\"\naccess = \"public\"\nupstream = \"api\"",
                "path = \"/api/**/*.css\"\naccess = \"public\"\nupstream = \"api\"",
                "path = \"/**/*.css\"\naccess = \"public\"\n",
                "methods = [\"OPTIONS\"]",
                "path = \"/api/*/**\"\naccess = \"api\"\nupstream = \"api\"",
            ],
            &[],
        ),
        (
            negated,
            0,
            &[
                "path = \"/api/open/\"\nmethods = [\"POST\"]\naccess = \"public\"",
                "path = \"/api/v1*/**\"\naccess = \"api\"",
                "path = \"/api*/**\"\n\n",
                "path = \"/**\"\naccess = \"public\"",
            ],
            &[],
        ),
        (
            two,
            3,
            &["!access = \"public\""],
            &["no equivalent: skip_auth_routes !=^/a/: several"],
        ),
        (json, 0, &["path = \"/**\"\naccess = \"api\""], &[]),
    ]);
}

/// What `explain` says of requests, of the configuration that comes of this one.
fn hold_verdicts(content: &str, requests: &[(&str, &str, &str)]) {
    let folder = tempfile::tempdir().expect("a directory");
    let content = format!("{COMMON}{content}\n");
    fs::write(folder.path().join("proxy.cfg"), content).expect("the file is written");
    let imported = run(folder.path(), &["import", "oauth2-proxy", "proxy.cfg"], &[]);
    fs::write(folder.path().join("sidegate.toml"), imported.stdout).expect("the file is written");
    for (method, path, verdict) in requests {
        let told = run(folder.path(), &["explain", method, path, "--json"], &[]);
        let told = text(&told.stdout);
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told["verdict"], *verdict, "{method} {path}: {told}");
    }
}

/// What was public there is public here, and nothing else, by the road's own word.
#[test]
fn public_paths_are_the_same() {
    hold_verdicts(
        "email_domains = [\"*\"]\nupstreams = [\"http://web/\", \"http://api/api/\"]\nskip_auth_routes = [\"GET=^/public\", \"^/api/open/\", \"\\\\.css$\", \"^/v[^/]+/status$\"]",
        &[
            ("GET", "/public", "public"),
            ("GET", "/publicity/x", "public"),
            ("POST", "/public", "sign_in"),
            ("GET", "/x/public", "sign_in"),
            ("GET", "/api/open/x/y", "public"),
            ("GET", "/api/open", "sign_in"),
            ("GET", "/api/opener", "sign_in"),
            ("GET", "/a/b/x.css", "public"),
            ("GET", "/api/x.css", "public"),
            ("GET", "/a/b/x.css/y", "sign_in"),
            ("GET", "/a/b/xcss", "sign_in"),
            ("GET", "/v1/status", "public"),
            ("GET", "/v/status", "sign_in"),
            ("GET", "/v1/x/status", "sign_in"),
        ],
    );
}

/// A path that was guarded there is never public here, whatever apps and signs the pattern runs across.
#[test]
fn guarded_paths_are_never_public() {
    hold_verdicts(
        "email_domains = [\"*\"]\nupstreams = [\"http://web/\", \"http://api/api/\"]\nskip_auth_routes = [\"!=^/[^/]+/admin\"]",
        &[
            ("GET", "/other/admin", "forbidden"),
            ("GET", "/api/admin", "forbidden"),
            ("GET", "/api/admin/x", "forbidden"),
            ("GET", "/api/open", "public"),
        ],
    );
    hold_verdicts(
        "email_domains = [\"*\"]\nupstreams = [\"http://web/\"]\nskip_auth_routes = [\"!=^/ad.in\"]",
        &[
            ("GET", "/admin", "sign_in"),
            ("GET", "/ad.in", "sign_in"),
            ("GET", "/adXin/y", "sign_in"),
        ],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn people_headers_sessions_and_places_are_carried_over() {
    hold(&[
        (
            "email_domains = [\"*\"]\ncookie_name = \"__Host-gate\"\ncookie_expire = \"24h0m0s\"\ncookie_refresh = \"1h\"\ncookie_samesite = \"lax\"\ncookie_secure = true\ncookie_httponly = true\ncookie_csrf_per_request = true\ncookie_csrf_expire = \"5m\"\ncookie_path = \"/\"",
            0,
            &[
                "cookie_name = \"gate\"",
                "lifetime = \"1d\"",
                "idle_timeout = \"1d\"",
            ],
            &[
                "not needed: cookie_refresh: ",
                "not needed: cookie_samesite: ",
                "not needed: cookie_csrf_per_request: ",
            ],
        ),
        (
            "email_domains = [\"*\"]\ncookie_domains = [\".example.com\"]\ncookie_samesite = \"none\"\ncookie_path = \"/app\"\ncookie_expire = \"0s\"",
            3,
            &["cookie_domain = \"example.com\"", "lifetime = \"7d\""],
            &[
                "to do: cookie_domains: ",
                "no equivalent: cookie_samesite: ",
                "no equivalent: cookie_path: ",
                "no equivalent: cookie_expire: ",
            ],
        ),
        (
            "email_domains = [\"*\"]\ncookie_domains = [\"example.com\", \"example.org\"]",
            3,
            &["!cookie_domain ="],
            &["no equivalent: cookie_domains: "],
        ),
        (
            "email_domains = [\"*\"]\ncookie_domains = [\"ample.com\"]",
            3,
            &["!cookie_domain ="],
            &["no equivalent: cookie_domains: "],
        ),
        (
            "email_domains = [\"*\"]\nsession_store_type = \"redis\"\nredis_connection_url = \"redis://cache:6379/2\"\nredis_password = \"p@ss/word\"\nredis_connection_idle_timeout = 30",
            0,
            &["store = \"redis://:p%40ss%2Fword@cache:6379/2\""],
            &["not needed: redis_connection_idle_timeout: "],
        ),
        (
            "email_domains = [\"*\"]\nsession_store_type = \"redis\"\nredis_use_sentinel = true\nredis_sentinel_master_name = \"main\"\nredis_sentinel_connection_urls = [\"redis://s1:26379\", \"redis://s2:26379\"]\nredis_sentinel_password = \"other\"\nredis_ca_path = \"/ca.pem\"",
            3,
            &["store = \"redis-sentinel://s1:26379,s2:26379/main/0\""],
            &[
                "no equivalent: redis_sentinel_password: ",
                "no equivalent: redis_ca_path: ",
            ],
        ),
        (
            "email_domains = [\"*\"]\nsession_store_type = \"redis\"\nredis_use_cluster = true\nredis_cluster_connection_urls = [\"rediss://u:p@h1:7000\", \"rediss://h2:7001\"]",
            0,
            &["store = \"rediss-cluster://u:p@h1:7000,h2:7001\""],
            &[],
        ),
        (
            "email_domains = [\"*\"]\npass_user_headers = false\npass_basic_auth = false\nset_xauthrequest = true\npass_access_token = true",
            0,
            &[
                "preset = \"none\"",
                "X-Auth-Request-Email = \"email\"",
                "X-Forwarded-Access-Token = \"access_token\"",
                "!X-Forwarded-User",
            ],
            &["not needed: pass_user_headers: "],
        ),
        (
            "email_domains = [\"*\"]\nprefer_email_to_user = true\nbasic_auth_password = \"shared\"\nset_basic_auth = true",
            3,
            &[
                "X-Forwarded-User = \"email\"",
                "Authorization = { basic = \"email\", password = \"shared\" }",
                "!X-Forwarded-Email",
            ],
            &["no equivalent: set_basic_auth: "],
        ),
        (
            "email_domains = [\"*\"]\npass_authorization_header = true\nset_authorization_header = true\nskip_auth_strip_headers = false\nsignature_key = \"sha256:canary\"",
            3,
            &[
                "Authorization = \"id_token\"",
                "preset = \"oauth2-proxy\"",
                "!canary",
            ],
            &[
                "no equivalent: skip_auth_strip_headers: ",
                "no equivalent: signature_key: ",
            ],
        ),
        (
            "email_domains = [\"*\"]\nhttp_address = \"0.0.0.0:8080\"\nmetrics_address = \":9100\"\nwhitelist_domains = [\".example.com\", \"other.example.net:8443\", \"*.any.example:*\"]\nreal_client_ip_header = \"X-Forwarded-For\"\nping_path = \"/healthz\"",
            3,
            &[
                "listen = \"0.0.0.0:8080\"",
                "admin_listen = \"0.0.0.0:9100\"",
                "redirect_hosts = [\".example.com\", \"example.com\", \"other.example.net:8443\"]",
                "root_health = true",
            ],
            &[
                "to do: metrics_address: ",
                "no equivalent: whitelist_domains *.any.example:*: ",
                "no equivalent: ping_path: ",
            ],
        ),
        (
            "email_domains = [\"*\"]\nhttp_address = \"unix:///run/gate.sock,mode=0660\"\nproxy_prefix = \"/login\"",
            3,
            &[
                "listen = \"unix:/run/gate.sock\"",
                "prefix = \"/login\"",
                "callback_path = \"/oauth2/callback\"",
            ],
            &["no equivalent: http_address: "],
        ),
        (
            "email_domains = [\"*\"]\nhttps_address = \":8443\"\ntls_cert_file = \"tls.crt\"\ntls_key_file = \"tls.key\"\ntls_min_version = \"TLS1.3\"\nforce_https = true\ntls_cipher_suites = [\"TLS_RSA_WITH_AES_128_GCM_SHA256\"]",
            3,
            &[
                "tls = { cert = \"tls.crt\", key = \"tls.key\" }",
                "listen = \"0.0.0.0:8443\"",
            ],
            &[
                "no equivalent: tls_min_version: ",
                "no equivalent: force_https: ",
                "no equivalent: tls_cipher_suites: ",
            ],
        ),
        (
            "email_domains = [\"*\"]\nreverse_proxy = true\nreal_client_ip_header = \"X-Real-IP\"",
            3,
            &["!trusted_proxies ="],
            &[
                "no equivalent: reverse_proxy: ",
                "no equivalent: real_client_ip_header: ",
            ],
        ),
        (
            "email_domains = [\"*\"]\nhtpasswd_file = \"/htpasswd\"\nhtpasswd_user_groups = [\"ops\"]\ndisplay_htpasswd_form = true\ntrusted_ips = [\"10.0.0.0/8\"]\nskip_jwt_bearer_tokens = true\nextra_jwt_issuers = [\"https://i.example=aud\"]",
            3,
            &["allow = \"anyone\""],
            &[
                "no equivalent: htpasswd_file: ",
                "no equivalent: trusted_ips: ",
                "no equivalent: skip_jwt_bearer_tokens: ",
            ],
        ),
        (
            "email_domains = [\"*\"]\nrequest_logging = false\nrequest_logging_format = \"{{.Client}}\"\ncustom_templates_dir = \"/templates\"\nbanner = \"-\"\nlogging_local_time = false\nsilence_ping_logging = true",
            3,
            &["log = \"info,sidegate::access=off\""],
            &[
                "no equivalent: request_logging_format: ",
                "no equivalent: custom_templates_dir: ",
                "not needed: banner: ",
                "not needed: silence_ping_logging: ",
            ],
        ),
    ]);
    let emails = import(&Given {
        files: &[
            (
                "proxy.cfg",
                &format!(
                    "{COMMON}authenticated_emails_file = \"emails\"\nemail_domains = [\"example.com\"]\nupstreams = [\"http://web/\"]\nskip_auth_routes = [\"^/open$\"]\n"
                ),
            ),
            ("emails", "Ann@Example.net\n\nbob@example.com\nno address\n"),
        ],
        arguments: &["proxy.cfg"],
        ..Given::default()
    });
    assert_eq!(emails.code, 3, "{}", emails.told);
    assert!(
        emails.told.contains("authenticated_emails_file, line 4: ")
            && emails
                .told
                .contains("to do: authenticated_emails_file: its addresses are in `emails` now"),
        "{}",
        emails.told
    );
    let any = "any = [{ domains = [\"example.com\"] }, { emails = [\"ann@example.net\"] }]";
    assert!(
        emails.toml.contains(&format!("path = \"/**\"\n{any}")),
        "{}",
        emails.toml
    );
    assert!(
        emails
            .toml
            .contains("path = \"/open\"\naccess = \"public\"\n"),
        "{}",
        emails.toml
    );
}

/// Whoever reads that addresses are in this file looks for them.
#[test]
fn addresses_of_a_domain_that_passes_are_not_said_to_be_here() {
    let emails = import(&Given {
        files: &[
            (
                "proxy.cfg",
                &format!(
                    "{COMMON}authenticated_emails_file = \"emails\"\nemail_domains = [\"example.com\"]\nsilence_ping_logging = true\n"
                ),
            ),
            ("emails", "ann@example.com\nbob@example.com\n"),
        ],
        arguments: &["proxy.cfg"],
        ..Given::default()
    });
    assert_eq!(emails.code, 0, "{}", emails.told);
    assert!(
        emails
            .told
            .contains("not needed: authenticated_emails_file: "),
        "{}",
        emails.told
    );
    assert!(!emails.toml.contains("emails = "), "{}", emails.toml);
}

#[test]
fn flags_and_variables_count_as_there() {
    let given = Given {
        files: &[(
            "proxy.cfg",
            &format!(
                "{COMMON}provider = \"github\"\nemail_domains = [\"file.example\"]\ncookie_name = \"file\"\n"
            ),
        )],
        arguments: &[
            "--args",
            "--config=proxy.cfg",
            "--cookie-name",
            "flag",
            "--email-domain=one.example",
            "--email-domain",
            "two.example,three.example",
            "--cookie-httponly=true",
            "--skip-provider-button",
            "--upstream=http://127.0.0.1:8000/",
        ],
        environment: &[
            ("OAUTH2_PROXY_COOKIE_NAME", "variable"),
            ("OAUTH2_PROXY_CLIENT_SECRET", "canary-of-the-environment"),
            (
                "OAUTH2_PROXY_WHITELIST_DOMAINS",
                "a.example.com,b.example.com",
            ),
            // Kubernetes' own, where a service is called so.
            ("OAUTH2_PROXY_SERVICE_HOST", "10.0.0.1"),
            ("OAUTH2_PROXY_PORT", "tcp://10.0.0.1:4180"),
        ],
    };
    let imported = import(&given);
    assert_eq!(imported.code, 0, "{}", imported.told);
    for line in [
        "cookie_name = \"flag\"",
        "allow = { domains = [\"one.example\", \"two.example\", \"three.example\"] }",
        "client_secret = { env = \"OAUTH2_PROXY_CLIENT_SECRET\" }",
        "redirect_hosts = [\"a.example.com\", \"b.example.com\"]",
        "[providers.github]",
    ] {
        assert!(
            imported.toml.contains(line),
            "{line} not in {}",
            imported.toml
        );
    }
    assert!(!imported.toml.contains("canary"), "{}", imported.toml);
    assert!(
        imported
            .told
            .contains("not needed: --skip-provider-button: "),
        "{}",
        imported.told
    );
}

#[test]
fn what_is_unknown_is_an_error() {
    for (given, errors) in [
        (
            &["--args", "--provider=oidc", "--cookie-nmae=x"][..],
            &["--cookie-nmae is no option", "did you mean --cookie-name?"][..],
        ),
        (
            &["--args", "--cookie-secure", "false"],
            &["argument 2 is no flag"],
        ),
        (&["nowhere.cfg"], &["nowhere.cfg cannot be read"]),
        (&[], &["nothing is given"]),
        (
            &["bad.cfg"],
            &[
                "bad.cfg: upstream is no option",
                "bad.cfg: nonsense is no option",
            ],
        ),
    ] {
        let imported = import(&Given {
            files: &[("bad.cfg", "upstream = \"http://x\"\nnonsense = 1\n")],
            arguments: given,
            ..Given::default()
        });
        assert_eq!(imported.code, 2, "{given:?}: {}", imported.told);
        for error in errors {
            assert!(
                imported.told.contains(error),
                "{error} not in {}",
                imported.told
            );
        }
    }
    let variable = import(&Given {
        environment: &[("OAUTH2_PROXY_COOKIE_NMAE", "x")],
        ..Given::default()
    });
    assert_eq!(variable.code, 2);
    assert!(
        variable
            .told
            .contains("did you mean OAUTH2_PROXY_COOKIE_NAME?"),
        "{}",
        variable.told
    );
}

const ALPHA: &str = "
upstreamConfig:
  proxyRawPath: false
  upstreams:
    - id: web
      path: /
      uri: http://web:8080
      timeout: 90s
    - id: api
      path: ^/api/(.*)$
      rewriteTarget: /$1
      uri: http://api:9000
      passHostHeader: false
    - id: health
      path: /static-health
      static: true
      staticCode: 204
injectRequestHeaders:
  - name: X-Forwarded-Email
    values:
      - claimSource:
          claim: email
  - name: X-Team
    values:
      - claim: team
  - name: X-Gate
    values:
      - secretSource:
          fromEnv: GATE_SECRET
  - name: Authorization
    values:
      - claimSource:
          claim: access_token
          prefix: 'Bearer '
  - name: X-Twice
    values:
      - claimSource: { claim: user }
      - claimSource: { claim: email }
injectResponseHeaders:
  - name: X-Auth-Request-Email
    values:
      - claimSource:
          claim: email
server:
  bindAddress: 0.0.0.0:4180
metricsServer:
  bindAddress: 127.0.0.1:9100
providers:
  - id: corp
    name: Corp
    provider: oidc
    clientID: app
    clientSecret: ${CORP_SECRET}
    scope: openid email
    loginURLParameters:
      - name: prompt
        default: [select_account]
      - name: acr_values
        allow:
          - pattern: ^x
    additionalClaims: [team]
    oidcConfig:
      issuerURL: https://${HOST_OF_LOGIN}/realms/acme
      emailClaim: email
      insecureSkipNonce: true
  - id: second
    provider: github
";

#[test]
fn the_alpha_configuration_is_read() {
    let core = "cookie_secret = \"OQINaROshtE9TcZkNAm-5Zs2Pv3xaWytBX5W7sGX7ws=\"\nredirect_url = \"https://app.example.com/oauth2/callback\"\nemail_domains = [\"example.com\"]\n";
    let imported = import(&Given {
        files: &[("proxy.cfg", core), ("alpha.yaml", ALPHA)],
        arguments: &["proxy.cfg", "alpha.yaml"],
        environment: &[
            ("CORP_SECRET", "canary"),
            ("GATE_SECRET", "canary-gate"),
            ("HOST_OF_LOGIN", "id.example.com"),
        ],
    });
    assert_eq!(imported.code, 3, "{}", imported.told);
    for line in [
        "listen = \"0.0.0.0:4180\"",
        "admin_listen = \"127.0.0.1:9100\"",
        "upstream = \"http://web:8080\"",
        "upstream_timeout = \"90s\"",
        "[upstreams.api]\nurl = \"http://api:9000\"\nhost = \"upstream\"\nstrip_prefix = \"/api\"",
        "path = \"/api/**\"\nupstream = \"api\"",
        "[providers.oidc]",
        "label = \"Corp\"",
        "client_secret = { env = \"CORP_SECRET\" }",
        "issuer = \"https://id.example.com/realms/acme\"",
        "authorize_params = { prompt = \"select_account\" }",
        "X-Forwarded-Email = \"email\"",
        "X-Team = \"claims.team\"",
        "X-Gate = { env = \"GATE_SECRET\" }",
        "Authorization = \"access_token\"",
        "X-Auth-Request-Email = \"email\"",
    ] {
        assert!(
            imported.toml.contains(line),
            "{line} not in {}",
            imported.toml
        );
    }
    assert!(!imported.toml.contains("canary") && !imported.told.contains("canary"));
    for told in [
        "no equivalent: injectRequestHeaders[4] (X-Twice): ",
        "no equivalent: providers[0].loginURLParameters[1].allow: ",
        "to do: upstreamConfig.upstreams[2] (health): ",
        "not needed: providers[1]: ",
        "not needed: providers[0].oidcConfig.insecureSkipNonce: ",
    ] {
        assert!(
            imported.told.contains(told),
            "{told} not in {}",
            imported.told
        );
    }
}

#[test]
fn what_is_wrong_with_an_alpha_configuration_is_told() {
    for (core, alpha, error) in [
        (
            "",
            "providers:\n  - clientIb: a\n",
            "did you mean clientID?",
        ),
        ("", "upstreams: []\n", "upstreams is nothing"),
        ("", "providers: [\n", "alpha.yaml:"),
        (
            "",
            "providers:\n  - clientID: ${NOT_THERE}\n",
            "wants NOT_THERE",
        ),
        (
            "client_id = \"a\"\n",
            "providers: []\n",
            "client_id belongs into the alpha configuration",
        ),
        (
            "",
            "injectRequestHeaders:\n  - name: X-A\n    values:\n      - claimSource: { claim: a, other: b }\n",
            "other is nothing",
        ),
    ] {
        let imported = import(&Given {
            files: &[("proxy.cfg", core), ("alpha.yaml", alpha)],
            arguments: &["proxy.cfg", "alpha.yaml"],
            ..Given::default()
        });
        assert_eq!(imported.code, 2, "{alpha}: {}", imported.told);
        assert!(
            imported.told.contains(error),
            "{error} not in {}",
            imported.told
        );
    }
}

/// The page's block, as it stands.
#[test]
fn the_page_s_block_imports() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/from-oauth2-proxy.md")).expect("the page");
    let (_, block) = page.split_once("```sh\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let folder = tempfile::tempdir().expect("a directory");
    fs::write(
        folder.path().join("oauth2-proxy.cfg"),
        format!(
            "{COMMON}email_domains = [\"example.com\"]\nupstreams = [\"http://127.0.0.1:8000/\"]\n"
        ),
    )
    .expect("the file is written");
    let binary = sidegate().get_program().to_owned();
    let binary = Path::new(&binary).parent().expect("a folder").to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = std::process::Command::new("sh")
        .args(["-e", "-c", block])
        .current_dir(folder.path())
        .env("PATH", format!("{}:{path}", binary.display()))
        .output()
        .expect("sh runs");
    let told = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("/oauth2/callback/google"), "{told}");
}
