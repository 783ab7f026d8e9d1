//! What containers are made of, where that is settled, and what is told of it.

use super::story::{Origin, PINNED, Story, transcript};
use expect_test::expect;

#[test]
fn a_container_whose_image_is_settled_is_made_of_those_bytes() {
    let script = "failed pinned transient; wake; created side";
    expect![[r#"
        New                      PENDING create pinned of pinned@PINNED, create side
        failed pinned transient  PENDING
        wake                     PENDING create pinned of pinned@PINNED
        created side             ACTIVATING start side (id-side)
        pinned Pending -
        side Pending -
    "#]]
    .assert_eq(&transcript(Origin::New, &["pinned", "side"], script));
}

#[test]
fn what_a_container_is_made_of_is_known_also_where_a_comparison_found_it_first() {
    let mut story = Story::new(Origin::New, &["web"]);
    story.step("again web=created");
    assert_eq!(story.task.report.containers[0].image, None);
    story.step("created web of-pinned");
    assert_eq!(story.task.report.containers[0].image, Some(PINNED));
}
