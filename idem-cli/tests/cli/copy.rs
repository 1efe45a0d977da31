//! A copy of a folder.

use crate::support::{At, folder, idem};

#[tokio::test]
async fn a_copy_of_a_folder_has_its_letters_and_goes_where_nothing_is() {
    let (data, ids) = folder(3).await;
    let (at, place) = (At::folder(data.path()), tempfile::tempdir().unwrap());
    let copy = place.path().join("copies/today");
    let to = copy.to_str().unwrap();
    let said = at.idem(&["copy", to]).await.well();
    assert!(
        said.out.contains("whole copy") && said.out.contains(to),
        "{said:?}"
    );
    let listed = At::folder(&copy).json(&["dlq", "list"]).await;
    for id in ids {
        assert!(
            listed.to_string().contains(&id.to_string()),
            "{id}: {listed:#}"
        );
    }
    let again = at.idem(&["copy", to]).await.ended(1);
    assert!(again.err.contains("it is not empty"), "{again:?}");
    let service = idem(&["--url", "http://127.0.0.1:1", "copy", to])
        .await
        .ended(2);
    assert!(service.err.contains("`Idem::copy_to`"), "{service:?}");
    let database = At::Database("postgres://127.0.0.1:1/none".to_owned());
    let database = database.idem(&["copy", to]).await.ended(2);
    assert!(database.err.contains("its own tools"), "{database:?}");
}
