use std::{
    sync::{atomic::AtomicBool, mpsc},
    time::Instant,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Where a test's lines go. Whoever holds the gate holds the writer up.
#[derive(Clone, Default)]
struct Reader {
    bytes: Arc<Mutex<Vec<u8>>>,
    gate: Arc<Mutex<()>>,
}

impl Reader {
    fn lines(&self) -> Vec<String> {
        let bytes = locked(&self.bytes);
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "whole lines only");
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(locked(&self.gate));
        locked(&self.bytes).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes seven bytes at a time, and now and then nothing.
struct Stubborn {
    reader: Reader,
    turn: usize,
    refusals: Vec<(usize, io::ErrorKind)>,
}

impl Write for Stubborn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.turn += 1;
        match self.refusals.iter().find(|(turn, _)| *turn == self.turn) {
            Some((_, kind)) => Err((*kind).into()),
            None => self.reader.write(&bytes[..bytes.len().min(7)]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn say(queue: &Queue, haste: Flush, line: &str) {
    queue.push(haste, |lines| {
        lines.extend(line.as_bytes());
        lines.push(b'\n');
    });
}

fn nothing_is_lost(lines: u64) {
    panic!("{lines} lines are lost");
}

#[test]
fn every_line_is_whole_and_in_its_threads_order() {
    let reader = Reader::default();
    let log_writer = LogWriter::start(reader.clone(), nothing_is_lost).unwrap();
    thread::scope(|scope| {
        for name in 0..4 {
            let queue = log_writer.queue();
            scope.spawn(move || {
                for count in 0..10_000 {
                    let haste = if count % 100 == name {
                        Flush::Now
                    } else {
                        Flush::Soon
                    };
                    say(&queue, haste, &format!("{name} {count}"));
                }
            });
        }
    });
    log_writer.finish(PATIENCE);
    let mut next = [0; 4];
    for line in reader.lines() {
        let (name, count) = line.split_once(' ').unwrap();
        let next = &mut next[name.parse::<usize>().unwrap()];
        assert_eq!(count.parse(), Ok(*next));
        *next += 1;
    }
    assert_eq!(next, [10_000; 4]);
    assert!(
        locked(&log_writer.0.queues).is_empty(),
        "ended threads leave nothing"
    );
}

#[test]
fn lines_come_soon_and_without_being_asked_for() {
    for haste in [Flush::Soon, Flush::Now] {
        let reader = Reader::default();
        let log_writer = LogWriter::start(reader.clone(), nothing_is_lost).unwrap();
        let queue = log_writer.queue();
        for count in 1..4 {
            say(&queue, haste, "line");
            let end = Instant::now() + PATIENCE;
            while reader.lines().len() < count {
                assert!(Instant::now() < end, "nothing comes");
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn a_slow_reader_holds_nobody_up_and_is_told_what_is_lost() {
    let reader = Reader::default();
    let (tell, losses) = mpsc::channel();
    let log_writer =
        LogWriter::start(reader.clone(), move |lines| tell.send(lines).unwrap()).unwrap();
    let queue = log_writer.queue();
    let line = "x".repeat(1023);
    let many = 3 * BOUND / 1024;
    let held = locked(&reader.gate);
    for _ in 0..many {
        say(&queue, Flush::Soon, &line);
    }
    assert!(locked(&queue.lines).len() <= BOUND + 1024);
    drop(held);
    log_writer.finish(PATIENCE);
    let lost: u64 = losses.try_iter().sum();
    assert_eq!(reader.lines().len() as u64 + lost, many as u64);
    assert_eq!(log_writer.lost(), lost);
    assert!(lost >= many as u64 / 4, "{lost} of {many}");
}

#[test]
fn a_reader_that_never_reads_does_not_hold_up_the_end() {
    let reader = Reader::default();
    let log_writer = LogWriter::start(reader.clone(), nothing_is_lost).unwrap();
    let held = locked(&reader.gate);
    say(&log_writer.queue(), Flush::Now, "line");
    let begin = Instant::now();
    log_writer.finish(Duration::from_millis(50));
    assert!(begin.elapsed() < PATIENCE);
    drop(held);
}

#[test]
fn a_torn_line_takes_no_other_with_it() {
    let reader = Reader::default();
    let mut destination = Destination::new(Stubborn {
        reader: reader.clone(),
        turn: 0,
        refusals: vec![
            (1, io::ErrorKind::Interrupted),
            (2, io::ErrorKind::WouldBlock),
            // Within the third line, and again before it can be ended.
            (5, io::ErrorKind::StorageFull),
            (6, io::ErrorKind::StorageFull),
        ],
    });
    assert_eq!(destination.write(b"one 1\ntwo 22\nthree\n"), 1);
    assert_eq!(destination.write(b"four\n"), 1);
    assert_eq!(destination.write(b"five\nsix six\n"), 0);
    assert_eq!(reader.lines(), ["one 1", "two 22", "t", "five", "six six"]);
}

#[test]
fn a_full_disk_costs_lines_and_is_told_once_there_is_room() {
    #[derive(Clone, Default)]
    struct Disk {
        reader: Reader,
        has_room: Arc<AtomicBool>,
        refused: Arc<AtomicU64>,
    }
    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.has_room.load(Ordering::SeqCst) {
                return self.reader.write(bytes);
            }
            self.refused.fetch_add(1, Ordering::SeqCst);
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let disk = Disk::default();
    let (tell, losses) = mpsc::channel();
    let log_writer =
        LogWriter::start(disk.clone(), move |lines| tell.send(lines).unwrap()).unwrap();
    let queue = log_writer.queue();
    say(&queue, Flush::Now, "lost");
    say(&queue, Flush::Now, "lost");
    let end = Instant::now() + PATIENCE;
    while log_writer.lost() < 2 {
        assert!(Instant::now() < end, "nobody counts");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(disk.refused.load(Ordering::SeqCst) > 0 && losses.try_recv().is_err());
    disk.has_room.store(true, Ordering::SeqCst);
    say(&queue, Flush::Now, "arrives");
    assert_eq!(losses.recv_timeout(PATIENCE), Ok(2));
    log_writer.finish(PATIENCE);
    assert_eq!(disk.reader.lines(), ["arrives"]);
    assert_eq!(log_writer.lost(), 2);
}

#[test]
fn a_reader_that_is_gone_is_told_nothing() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log_writer = LogWriter::start(Gone, nothing_is_lost).unwrap();
    let queue = log_writer.queue();
    for _ in 0..1000 {
        say(&queue, Flush::Now, "line");
    }
    log_writer.finish(PATIENCE);
    assert!(locked(&log_writer.0.call).ended);
    assert_eq!(log_writer.0.lost.load(Ordering::Relaxed), 1000);
}
