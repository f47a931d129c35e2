//! Connects to Redis: which server to ask, and whether it is the right one.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind,
    TlsCertificates, Value,
    aio::{MultiplexedConnection, PubSub},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
};
use tokio::time::timeout;

use super::{
    address::{self as redis_address, RedisAddress, Topology},
    failure::RedisFailure,
};
use crate::{net::dial::PROBES, trust};

/// Makes connections to one Redis.
pub(crate) struct Dialer {
    address: RedisAddress,
    certificates: TlsCertificates,
    /// Which of several nodes is asked next.
    turn: AtomicUsize,
}

/// A connection that any number of commands may use at once.
#[derive(Clone)]
pub(crate) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(crate) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl Dialer {
    pub(crate) fn new(address: RedisAddress) -> Self {
        let root_cert = address.tls.then(trust::system_roots_as_pem).flatten();
        if address.tls {
            trust::install_cryptography();
        }
        Self {
            certificates: TlsCertificates {
                client_tls: None,
                root_cert,
            },
            address,
            turn: AtomicUsize::new(0),
        }
    }

    /// A connection for commands.
    pub(crate) async fn connect(&self) -> Result<Connection, RedisFailure> {
        if self.address.topology == Topology::Cluster {
            return match bounded(CONNECT * 2, self.connect_cluster()).await {
                Ok(cluster) => Ok(Connection::Cluster(cluster)),
                // The library says of several servers only that none will do; one of them says why.
                Err(redis_failure) => Err(self.trouble_of_a_node().await.unwrap_or(redis_failure)),
            };
        }
        let (host, port) = self.server().await?;
        let mut connection = bounded(CONNECT, self.connect_to(&host, port, true)).await?;
        bounded(CONNECT, is_writable(&mut connection)).await?;
        Ok(Connection::Server(connection))
    }

    /// A connection for messages, of which the nodes of a cluster tell each other.
    pub(crate) async fn listen(&self) -> Result<PubSub, RedisFailure> {
        let (host, port) = self.server().await?;
        let client = self.client(&host, port, true)?;
        bounded(CONNECT, client.get_async_pubsub()).await
    }

    async fn trouble_of_a_node(&self) -> Option<RedisFailure> {
        let (host, port) = self.server().await.ok()?;
        let connected = async {
            let mut connection = self.connect_to(&host, port, true).await?;
            redis::cmd("PING")
                .query_async::<Value>(&mut connection)
                .await?;
            Ok(standing(&mut connection).await)
        };
        match bounded(CONNECT, connected).await {
            Ok(ClusterMode::Alone) => Some(RedisFailure::NoCluster),
            Err(redis_failure)
                if redis_failure.is_refusal() || redis_failure == RedisFailure::NobodyThere =>
            {
                Some(redis_failure)
            }
            _ => None,
        }
    }

    /// Whether what is asked as one server is one, as far as it says.
    pub(crate) async fn check_is_alone(
        &self,
        connection: &mut Connection,
    ) -> Result<(), RedisFailure> {
        let Connection::Server(connection) = connection else {
            return Ok(());
        };
        match timeout(CONNECT, standing(connection)).await {
            Ok(ClusterMode::OneOfSeveral) => Err(RedisFailure::Cluster),
            _ => Ok(()),
        }
    }

    /// Who was asked, or is asked next: `HOST:PORT`, several parted by commas.
    pub(crate) async fn address_of(&self, redis_failure: &RedisFailure) -> String {
        let sentinel = matches!(redis_failure, RedisFailure::Sentinel(_));
        let nodes = match &self.address.topology {
            Topology::Sentinel(_) if !sentinel => match self.server().await {
                Ok(master) => vec![master],
                Err(_) => self.address.nodes.clone(),
            },
            _ => self.address.nodes.clone(),
        };
        redis_address::names(&nodes)
    }

    async fn connect_cluster(&self) -> RedisResult<ClusterConnection> {
        let nodes = self.address.nodes.iter();
        let nodes: RedisResult<Vec<_>> = nodes
            .map(|(host, port)| self.info(host, *port, true))
            .collect();
        let mut builder = ClusterClientBuilder::new(nodes?)
            .connection_timeout(CONNECT)
            .response_timeout(CONNECT)
            .connection_concurrency_limit(IN_FLIGHT)
            .tcp_settings(tcp_settings())
            // A key that moved and a failover are followed within one command's time.
            .retries(4)
            .min_retry_wait(20)
            .max_retry_wait(200);
        if self.address.tls {
            builder = builder.certs(self.certificates.clone());
        }
        builder.build()?.get_async_connection().await
    }

    /// The server to ask now: of several the next, where sentinels know, the one they name.
    async fn server(&self) -> Result<(String, u16), RedisFailure> {
        let nodes = &self.address.nodes;
        let Topology::Sentinel(master) = &self.address.topology else {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            return Ok(nodes[turn % nodes.len()].clone());
        };
        let mut last = RedisFailure::NoAnswer;
        for _ in nodes {
            let turn = self.turn.load(Ordering::Relaxed);
            let (host, port) = &nodes[turn % nodes.len()];
            match self.ask_sentinel(host, *port, master).await {
                Ok(server) => return Ok(server),
                Err(redis_failure) => last = redis_failure,
            }
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        Err(RedisFailure::Sentinel(Box::new(last)))
    }

    async fn ask_sentinel(
        &self,
        host: &str,
        port: u16,
        master: &str,
    ) -> Result<(String, u16), RedisFailure> {
        // Sentinels may have the password of the servers, or none.
        let mut sentinel = match bounded(CONNECT, self.connect_to(host, port, true)).await {
            Ok(sentinel) => sentinel,
            Err(_) => bounded(CONNECT, self.connect_to(host, port, false)).await?,
        };
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let answer = question.query_async::<Option<(String, u16)>>(&mut sentinel);
        bounded(CONNECT, answer)
            .await?
            .ok_or(RedisFailure::UnknownMaster)
    }

    async fn connect_to(
        &self,
        host: &str,
        port: u16,
        signs_in: bool,
    ) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(CONNECT))
            .set_concurrency_limit(IN_FLIGHT);
        self.client(host, port, signs_in)?
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    fn client(&self, host: &str, port: u16, signs_in: bool) -> RedisResult<Client> {
        let info = self.info(host, port, signs_in)?;
        if self.address.tls {
            Client::build_with_tls(info, self.certificates.clone())
        } else {
            Client::open(info)
        }
    }

    fn info(&self, host: &str, port: u16, signs_in: bool) -> RedisResult<ConnectionInfo> {
        let host = host.to_owned();
        let address = if self.address.tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if signs_in {
            settings = settings.set_db(self.address.database.into());
            if let Some(password) = &self.address.password {
                settings = settings.set_password(password.expose());
            }
            if let Some(username) = &self.address.username {
                settings = settings.set_username(username);
            }
        }
        let info = address.into_connection_info()?;
        Ok(info
            .set_redis_settings(settings)
            .set_tcp_settings(tcp_settings()))
    }
}

/// Commands are not held back for company, and a server that has vanished is noticed.
fn tcp_settings() -> TcpSettings {
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(PROBES)
        .set_user_timeout(USER_TIMEOUT)
}

/// A server that still reads its data says LOADING; one that is a replica takes no writes. Both are there, and
/// neither is of use.
async fn is_writable(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    redis::cmd("PING").query_async::<Value>(connection).await?;
    let role = redis::cmd("ROLE").query_async::<Value>(connection).await;
    // A user that may not ask, or a service that does not know: then the first write tells.
    let Ok(Value::Array(role)) = role else {
        return Ok(());
    };
    match role.first() {
        Some(Value::BulkString(role)) if role == b"slave" || role == b"replica" => Err(
            RedisError::from((ErrorKind::Server(ServerErrorKind::ReadOnly), "a replica")),
        ),
        _ => Ok(()),
    }
}

/// How a server stands to others, in its own words.
enum ClusterMode {
    /// It is no node of any cluster.
    Alone,
    /// It has no share, or not all, of a cluster's keys.
    OneOfSeveral,
    /// It has all keys of a cluster, or may not say.
    Enough,
}

async fn standing(connection: &mut MultiplexedConnection) -> ClusterMode {
    let mut question = redis::cmd("CLUSTER");
    question.arg("INFO");
    match question.query_async::<String>(connection).await {
        Ok(info) => {
            let has_all = info.contains("cluster_state:ok") && info.contains("cluster_size:1\r");
            if has_all {
                ClusterMode::Enough
            } else {
                ClusterMode::OneOfSeveral
            }
        }
        // "This instance has cluster support disabled", and from services that do not know the command.
        Err(error) if error.code() == Some("ERR") => ClusterMode::Alone,
        Err(_) => ClusterMode::Enough,
    }
}

/// Nothing is waited for longer.
async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> Result<T, RedisFailure> {
    match timeout(limit, work).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(RedisFailure::NoAnswer),
    }
}

/// How long bytes to a server may stay unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may take, and each step of it.
const CONNECT: Duration = Duration::from_secs(1);
/// Commands in flight.
pub(crate) const IN_FLIGHT: usize = 1_024;
