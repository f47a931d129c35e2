//! Takes panics for damage: redb panics where a page of the file is not what it wrote.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

/// What `work` gives, or what redb said when it gave up. Nothing is printed then: the caller says it in its own words.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_CAUGHT.get() {
                loud(info);
            }
        }));
    });
    IS_CAUGHT.set(true);
    // Whoever catches one uses nothing of it any more.
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    IS_CAUGHT.set(false);
    outcome.map_err(|panic| said(&*panic))
}

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let line = text.and_then(|text| text.lines().next());
    line.unwrap_or("a page cannot be read")
        .chars()
        .take(LONGEST)
        .collect()
}

/// Characters of what redb says.
const LONGEST: usize = 200;
