//! An upstream that says byte for byte what a script tells it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::support::{House, browser::Browser, house::Plan};

/// An upstream that does with each connection what its script says.
pub struct Scripted {
    pub house: House,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

/// One connection, as a script sees it.
pub struct Connection {
    pub stream: TcpStream,
    /// From 0.
    pub number: usize,
    pub heads: Arc<Mutex<Vec<String>>>,
}

impl Connection {
    /// Reads a request's head; false at the end of the connection.
    pub async fn read_head(&mut self) -> bool {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return false,
            }
        }
        let head = String::from_utf8(head).expect("ASCII");
        self.heads.lock().expect("no panic inside").push(head);
        true
    }

    pub async fn say(&mut self, answer: &str) {
        // The gate may have gone.
        let _ = self.stream.write_all(answer.as_bytes()).await;
    }
}

impl Scripted {
    /// Has `script` deal with each connection.
    pub async fn start<F>(script: impl Fn(Connection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_with(script, |plan| plan).await
    }

    /// As [`Scripted::start`], with something more in the house's plan.
    pub async fn start_with<F>(
        script: impl Fn(Connection) -> F + Send + 'static,
        change: impl FnOnce(Plan) -> Plan,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::<AtomicUsize>::default();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (count, seen) = (Arc::clone(&connections), Arc::clone(&heads));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let heads = Arc::clone(&seen);
                tokio::spawn(script(Connection {
                    stream,
                    number,
                    heads,
                }));
            }
        });
        let plan = House::plan()
            .upstream_at(&format!("http://{address}"))
            .top("workers = 1")
            .top("upstream_timeout = \"3s\"");
        let house = change(plan).route("/**", "public").start().await;
        Self {
            house,
            connections,
            heads,
        }
    }

    /// Plays on each connection the script for its number, from 0.
    pub async fn play(script: impl Fn(usize) -> Script + Send + 'static) -> Self {
        Self::start(move |connection| script(connection.number).play(connection)).await
    }

    pub fn browser(&self) -> Browser {
        self.house.browser()
    }

    /// The log, once `text` stands in it: lines are written behind the answer.
    pub async fn log_with(&self, text: &str) -> String {
        for _ in 0..500 {
            let log = self.house.process.log();
            if log.contains(text) {
                return log;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("no {text} in:\n{}", self.house.process.log());
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic inside").clone()
    }
}

/// What happens on one connection, in this order; then it is closed.
#[derive(Clone, Default)]
pub struct Script {
    steps: Vec<Step>,
    is_repeated: bool,
}

#[derive(Clone)]
enum Step {
    Hear,
    Say(String),
    Rest(Duration),
}

impl Script {
    /// Reads a request's head.
    pub fn hear(self) -> Self {
        self.step(Step::Hear)
    }

    /// Says this, asked or not.
    pub fn say(self, text: &str) -> Self {
        self.step(Step::Say(text.to_owned()))
    }

    /// Is silent for so many milliseconds.
    pub fn rest(self, milliseconds: u64) -> Self {
        self.step(Step::Rest(Duration::from_millis(milliseconds)))
    }

    /// Reads a request's head and says this to it.
    pub fn answer(self, text: &str) -> Self {
        self.hear().say(text)
    }

    /// All of it again and again, until the gate closes the connection.
    pub fn repeated(self) -> Self {
        Self {
            is_repeated: true,
            ..self
        }
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub async fn play(self, mut connection: Connection) {
        loop {
            for step in &self.steps {
                match step {
                    Step::Hear => {
                        if !connection.read_head().await {
                            return;
                        }
                    }
                    Step::Say(text) => connection.say(text).await,
                    Step::Rest(time) => sleep(*time).await,
                }
            }
            if !self.is_repeated {
                return;
            }
        }
    }
}
