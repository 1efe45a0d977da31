//! What is sent, and what is sent again.

use super::*;

const OK: Answer = Answer::Ok {
    token: 1,
    digest: 1,
};

fn dead(letter: &str) -> Answer {
    Answer::Dead {
        letter: letter.into(),
        discarded: false,
    }
}

/// A post with this many calls out, and the calls.
fn after(calls: usize) -> (Post, Vec<Call>) {
    let mut post = Post::new(1, usize::MAX, u64::MAX);
    let mut out = Vec::new();
    while out.len() < calls {
        out.extend(post.next(true));
    }
    (post, out)
}

/// The messages that are sent when nothing new is.
fn due(post: &mut Post) -> HashSet<u64> {
    std::iter::from_fn(|| post.next(false).pop())
        .map(|call| call.n)
        .collect()
}

#[test]
fn some_forty_of_a_hundred_are_duplicates() {
    let (post, calls) = after(10_000);
    let duplicates = calls.len() - post.messages().count();
    assert!((3_000..5_000).contains(&duplicates), "{duplicates}");
}

#[test]
fn what_was_not_acknowledged_comes_again() {
    let (mut post, calls) = after(500);
    let (told, untold) = calls.split_at(250);
    told.iter()
        .for_each(|call| post.told(call.call, call.variant, &OK));
    let settled: HashSet<_> = told.iter().map(|call| call.n).collect();
    post.process_ended();
    let again = due(&mut post);
    let hung: HashSet<_> = post.parked.iter().copied().collect();
    assert!(untold.iter().all(|call| settled.contains(&call.n)
        || again.contains(&call.n)
        || hung.contains(&call.n)));
    assert!(again.iter().filter(|n| settled.contains(n)).count() <= REMINDERS);
    assert!(!post.is_settled());
}

#[test]
fn an_answer_from_before_a_redrive_settles_nothing() {
    let mut post = Post::new(1, 1, 1);
    let calls = post.next(true);
    let (first, n) = (&calls[0], calls[0].n);
    post.told(first.call, 0, &dead("A"));
    assert_eq!(post.unsettled, 0);
    post.redriven(n, "A", 4);
    let again = post.next(false).remove(0);
    post.told(again.call, 0, &dead("A"));
    assert_eq!((post.unsettled, due(&mut post).contains(&n)), (1, true));
    // In the next process it is the truth: the redrive was not recorded.
    post.process_ended();
    let again = post.next(false).remove(0);
    post.told(again.call, 0, &dead("A"));
    assert_eq!(post.unsettled, 0);
}

#[test]
fn only_some_hang_at_once() {
    let (mut post, calls) = after(20_000);
    let hung = |calls: &[Call]| {
        let hung = calls
            .iter()
            .filter(|call| call.handler == Handler::Hung)
            .map(|call| call.n);
        hung.collect::<HashSet<_>>()
    };
    let out = hung(&calls);
    assert_eq!(out.len(), HUNG);
    assert!(!post.parked.is_empty());
    assert!(!post.only_hangs());
    out.iter().for_each(|n| post.hangs(*n));
    calls
        .iter()
        .filter(|call| !out.contains(&call.n))
        .for_each(|call| post.told(call.call, call.variant, &OK));
    assert!(post.only_hangs());
    post.process_ended();
    assert_eq!(
        due(&mut post)
            .iter()
            .filter(|n| post
                .plan(**n)
                .is_some_and(|plan| plan.handler == Handler::Hung))
            .count(),
        HUNG
    );
}
