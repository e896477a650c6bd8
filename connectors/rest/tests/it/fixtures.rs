//! Answers as servers gave them, with invented people, and what is read from them.

use connector_rest::Rest;
use connector_testkit::{cases, recorded};

#[tokio::test]
async fn recorded_answers_are_read_as_expected() {
    for case in cases(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/rest")) {
        case.expect(&recorded::read::<Rest>(&case).await);
    }
}
