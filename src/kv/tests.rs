use std::{sync::Arc, time::Duration};

use super::*;
use crate::clock;

fn value(text: &str, seconds: u64) -> Value {
    Value {
        bytes: Bytes::copy_from_slice(text.as_bytes()),
        end: clock::now().after(Duration::from_secs(seconds)),
    }
}

fn key(name: &str) -> Key {
    Key::new("group", name)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// What every store does.
async fn keeps(store: &dyn Store) {
    assert_eq!(store.get(key("a")).await.unwrap(), None);
    store.put(key("a"), value("one", 60)).await.unwrap();
    store.put(key("a"), value("two", 60)).await.unwrap();
    assert_eq!(store.get(key("a")).await.unwrap(), Some(bytes("two")));
    assert_eq!(
        store.get(Key::new("groupa", "")).await.unwrap(),
        None,
        "a group ends where it ends"
    );

    assert_eq!(store.take(key("a")).await.unwrap(), Some(bytes("two")));
    assert_eq!(store.take(key("a")).await.unwrap(), None);

    store.put(key("over"), value("x", 0)).await.unwrap();
    assert_eq!(store.get(key("over")).await.unwrap(), None);
    assert_eq!(store.take(key("over")).await.unwrap(), None);

    let swap = |expected: Option<&str>, new: Option<&str>| {
        let new = new.map(|text| value(text, 60));
        store.swap(key("b"), expected.map(bytes), new)
    };
    assert!(!swap(Some("one"), Some("two")).await.unwrap());
    assert!(swap(None, Some("one")).await.unwrap());
    assert!(!swap(None, Some("two")).await.unwrap());
    assert!(
        swap(None, Some("one")).await.unwrap(),
        "it is there already"
    );
    assert!(swap(Some("one"), Some("two")).await.unwrap());
    assert_eq!(store.get(key("b")).await.unwrap(), Some(bytes("two")));
    assert!(!swap(Some("one"), None).await.unwrap());
    assert!(swap(Some("two"), None).await.unwrap());
    assert_eq!(store.get(key("b")).await.unwrap(), None);

    for name in ["s2", "s1", "s3"] {
        store
            .put(Key::new("scan", name), value(name, 60))
            .await
            .unwrap();
    }
    store
        .put(Key::new("scan", "s0"), value("x", 0))
        .await
        .unwrap();
    store
        .put(Key::new("scanner", "s9"), value("x", 60))
        .await
        .unwrap();
    let scan = async |at_most| -> Vec<String> {
        let found = store.scan("scan".to_owned(), at_most).await.unwrap();
        let names = found.into_iter().map(|(name, bytes)| {
            assert_eq!(name, bytes);
            String::from_utf8(name).unwrap()
        });
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    assert_eq!(scan(10).await, ["s1", "s2", "s3"]);
    assert_eq!(scan(2).await.len(), 2);
    store.take(Key::new("scan", "s2")).await.unwrap();
    assert_eq!(scan(10).await, ["s1", "s3"]);

    let large = Value {
        bytes: vec![0; LARGEST_VALUE + 1].into(),
        end: clock::now().after(Duration::from_mins(1)),
    };
    assert!(store.put(key("large"), large).await.is_err());
    assert!(store.is_ready());
}

/// Of many who do the same at once, one succeeds.
async fn decides_once(store: Arc<dyn Store>) {
    store.put(key("once"), value("x", 60)).await.unwrap();
    let tries = (0..20).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let taken = store.take(key("once")).await.unwrap();
            let new = Some(value(&number.to_string(), 60));
            let swapped = store.swap(key("first"), None, new).await.unwrap();
            (taken.is_some(), swapped)
        })
    });
    let (mut taken, mut swapped) = (0, 0);
    for one in tries.collect::<Vec<_>>() {
        let (was_taken, was_swapped) = one.await.unwrap();
        taken += usize::from(was_taken);
        swapped += usize::from(was_swapped);
    }
    assert_eq!((taken, swapped), (1, 1));
}

#[tokio::test]
async fn memory() {
    keeps(&Memory::default()).await;
    decides_once(Arc::new(Memory::default())).await;
}

#[tokio::test]
async fn memory_refuses_what_it_has_no_room_for_and_keeps_what_it_has() {
    let store = Memory::new(2, 1_000);
    store.put(key("a"), value("a", 60)).await.unwrap();
    store.put(key("b"), value("b", 0)).await.unwrap();
    store.put(key("c"), value("c", 60)).await.unwrap();
    assert!(store.put(key("d"), value("d", 60)).await.is_err());
    store.put(key("a"), value("new", 60)).await.unwrap();
    assert_eq!(store.get(key("a")).await.unwrap(), Some(bytes("new")));
    assert_eq!(store.get(key("c")).await.unwrap(), Some(bytes("c")));
}

#[tokio::test]
async fn memory_has_room_for_so_many_bytes_and_for_what_went_again() {
    let store = Memory::new(100, 1_000);
    let long = "x".repeat(400);
    store.put(key("a"), value(&long, 60)).await.unwrap();
    store.put(key("b"), value(&long, 60)).await.unwrap();
    assert!(store.put(key("c"), value(&long, 60)).await.is_err());
    let larger = "x".repeat(700);
    assert!(store.put(key("a"), value(&larger, 60)).await.is_err());
    assert_eq!(store.get(key("a")).await.unwrap(), Some(bytes(&long)));
    for _ in 0..5 {
        store.put(key("a"), value("short", 60)).await.unwrap();
        store.put(key("c"), value(&long, 60)).await.unwrap();
        assert!(store.put(key("a"), value(&long, 60)).await.is_err());
        store.take(key("c")).await.unwrap();
        store.put(key("c"), value(&long, 0)).await.unwrap();
        store.put(key("a"), value(&long, 60)).await.unwrap();
    }
}

#[tokio::test]
async fn file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/state.redb");
    let store = File::open(&path).unwrap();
    keeps(&store).await;
    decides_once(Arc::new(store)).await;
}

#[tokio::test]
async fn a_file_is_its_owners_alone_and_of_one_process() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/state.redb");
    let mode = |path: &std::path::Path| {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        format!("{:o}", mode & 0o777)
    };
    let store = File::open(&path).unwrap();
    store.put(key("a"), value("kept", 60)).await.unwrap();
    assert_eq!(mode(&path), "600");
    assert_eq!(mode(path.parent().unwrap()), "700");
    let beside = std::fs::read_dir(path.parent().unwrap()).unwrap();
    assert_eq!(beside.count(), 1);

    let again = File::open(&path).map(drop);
    assert!(matches!(again, Err(OpenError::InUse(_))), "{again:?}");
    drop(store);

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    // Its threads end after it.
    let mut tries = 0;
    let store = loop {
        match File::open(&path) {
            Err(OpenError::InUse(_)) if tries < 500 => tries += 1,
            opened => break opened.unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(mode(&path), "600");
    assert_eq!(store.get(key("a")).await.unwrap(), Some(bytes("kept")));
}

#[test]
fn what_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "my notes").unwrap();
    let opened = File::open(&path).map(drop);
    assert!(matches!(opened, Err(OpenError::Unusable(..))), "{opened:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"my notes");
}

#[tokio::test]
async fn a_table_knows_its_version() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let end = clock::now().after(Duration::from_mins(1));
    let old = Table::<u32>::new(Arc::clone(&store), "numbers", 1);
    old.put(b"seven", &7, end).await.unwrap();
    assert_eq!(old.get(b"seven").await.unwrap(), Some(7));
    assert!(!old.add(b"seven", &8, end).await.unwrap());
    assert!(old.add(b"eight", &8, end).await.unwrap());
    let list = old.scan(5).await.unwrap();
    assert_eq!(list, [(b"eight".to_vec(), 8), (b"seven".to_vec(), 7)]);
    let new = Table::<u32>::new(store, "numbers", 2);
    assert_eq!(new.get(b"seven").await.unwrap(), None);
    assert_eq!(old.take(b"seven").await.unwrap(), Some(7));
    assert_eq!(old.take(b"seven").await.unwrap(), None);
}
