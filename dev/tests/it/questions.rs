//! Questions to the documents: answers with their sources, passages, and what happens when nobody is there to answer.

use dev::testing::{Platform, eventually};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::documents::{HANDBOOK, typeset};

async fn ask(platform: &Platform, path: &str, body: &Value) -> Value {
    let response = platform.post(path, body).await;
    assert_eq!(response.status(), 200, "{body}");
    response.json().await.unwrap()
}

/// The answer to `question`.
async fn query(platform: &Platform, question: &str) -> Value {
    ask(platform, "/api/v1/query", &json!({ "question": question })).await
}

/// The keys of an object.
fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn sources(found: &Value) -> &Vec<Value> {
    found["sources"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_names_its_sources_and_ignorance_is_admitted_in_the_asker_s_language() {
    let platform = crate::setup().start().await;
    for (question, ignorance) in [
        ("Qui a peint la Joconde ?", "Je ne trouve pas"),
        ("Who painted the Mona Lisa?", "I don't know"),
    ] {
        let answer = query(&platform, question).await;
        assert!(
            answer["answer"].as_str().unwrap().starts_with(ignorance),
            "without a document: {answer}"
        );
        assert!(sources(&answer).is_empty());
    }
    let document = platform.ingest("handbook.pdf", HANDBOOK.to_vec()).await;

    for (question, fact) in [
        ("How long does the warranty cover an oven?", "eleven years"),
        ("Combien coûte la livraison à vélo ?", "trois euros"),
        ("combien coute la livraison a velo", "trois euros"),
        ("Which number must be dialled in the event of fire?", "4242"),
    ] {
        let answer = query(&platform, question).await;
        assert_eq!(keys(&answer), ["answer", "sources", "usage"]);
        let text = answer["answer"].as_str().unwrap();
        assert!(
            text.contains(fact) && text.contains('['),
            "{question}: {answer}"
        );
        let cited = sources(&answer)
            .iter()
            .find(|source| source["excerpt"].as_str().unwrap().contains(fact));
        let cited = cited.unwrap_or_else(|| panic!("{question}: {answer}"));
        assert_eq!(
            keys(cited),
            [
                "chunk_index",
                "document_id",
                "excerpt",
                "filename",
                "page",
                "score"
            ]
        );
        assert_eq!(
            (&cited["document_id"], &cited["filename"]),
            (&document["id"], &json!("handbook.pdf"))
        );
        assert!(
            (1..=2).contains(&cited["page"].as_i64().unwrap()),
            "{question}: {answer}"
        );
        assert!(
            cited["score"].as_f64().unwrap() > 0.0 && cited["chunk_index"].is_u64(),
            "{answer}"
        );
        assert!(
            answer["usage"]["input_tokens"].as_u64().unwrap() > 0,
            "{answer}"
        );
        assert!(
            answer["usage"]["output_tokens"].as_u64().unwrap() > 0,
            "{answer}"
        );
    }
    for (question, ignorance) in [
        ("Qui a peint la Joconde ?", "Je ne trouve pas"),
        ("Who painted the Mona Lisa?", "I don't know"),
    ] {
        let answer = query(&platform, question).await;
        assert!(
            answer["answer"].as_str().unwrap().starts_with(ignorance),
            "with a document: {answer}"
        );
        assert!(
            sources(&answer).is_empty(),
            "an answer that cites nothing rests on nothing: {answer}"
        );
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_names_the_page_its_words_stand_on() {
    let platform = crate::setup().start().await;
    // As slides are: several pages to a piece.
    let pages = [
        "The library lends every novel for twenty days.",
        "The museum shows its meteorites in the northern gallery.",
        "The swimming pool opens at six in the morning.",
    ];
    platform.ingest("town.pdf", typeset(&pages)).await;

    for (question, page) in [
        ("For how many days does the library lend a novel?", 1),
        ("Where does the museum show its meteorites?", 2),
        ("When does the swimming pool open in the morning?", 3),
    ] {
        let answer = query(&platform, question).await;
        assert_eq!(sources(&answer)[0]["page"], page, "{question}: {answer}");
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_finds_passages_best_first_in_the_documents_that_were_named() {
    let platform = crate::setup().start().await;
    let monday = platform.ingest(
        "monday.md",
        "The bakery opens at seven on Monday and sells rye bread.".into(),
    );
    let sunday = platform.ingest(
        "sunday.md",
        "The bakery opens at nine on Sunday and sells brioche.".into(),
    );
    let handbook = platform.ingest("handbook.pdf", HANDBOOK.to_vec());
    let (monday, sunday, handbook) = tokio::join!(monday, sunday, handbook);
    let question = "When does the bakery open on Sunday?";
    let search = async |more: Value| {
        let mut body = json!({ "question": question });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        ask(&platform, "/api/v1/search", &body).await
    };

    let found = search(json!({ "top_k": 20 })).await;
    assert_eq!(keys(&found), ["sources"]);
    let expected = [
        "chunk_index",
        "document_id",
        "excerpt",
        "filename",
        "lexical_score",
        "page",
        "score",
        "vector_score",
    ];
    assert!(
        sources(&found)
            .iter()
            .all(|source| keys(source) == expected),
        "{found}"
    );
    let best = &sources(&found)[0];
    assert_eq!(
        (&best["document_id"], &best["page"]),
        (&sunday["id"], &Value::Null),
        "{found}"
    );
    assert!(best["excerpt"].as_str().unwrap().contains("nine on Sunday"));
    for score in ["score", "vector_score", "lexical_score"] {
        assert!(best[score].as_f64().unwrap() > 0.0, "{score}: {best}");
    }
    let scores: Vec<f64> = sources(&found)
        .iter()
        .map(|source| source["score"].as_f64().unwrap())
        .collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");

    // As many as asked for: there are more than five pieces, and five is the default.
    let pieces = 2 + handbook["chunks"].as_u64().unwrap();
    assert!(pieces > 5, "{handbook}");
    for (top_k, most) in [
        (json!({}), 5),
        (json!({ "top_k": 1 }), 1),
        (json!({ "top_k": 20 }), pieces),
    ] {
        let found = search(top_k.clone()).await;
        let count = sources(&found).len() as u64;
        assert!(count <= most && count >= most.min(2), "{top_k}: {count}");
        assert_eq!(sources(&found)[0]["document_id"], sunday["id"], "{top_k}");
    }

    let only = |ids: &[&Value]| json!({ "document_ids": ids, "top_k": 20 });
    for (ids, expected) in [
        (only(&[&monday["id"]]), vec![&monday["id"]]),
        (only(&[&sunday["id"], &sunday["id"]]), vec![&sunday["id"]]),
        (
            only(&[&monday["id"], &sunday["id"]]),
            vec![&sunday["id"], &monday["id"]],
        ),
    ] {
        let found = search(ids.clone()).await;
        let documents: Vec<&Value> = sources(&found)
            .iter()
            .map(|source| &source["document_id"])
            .collect();
        assert_eq!(documents, expected, "{ids}");
    }
    let body = json!({ "question": question, "document_ids": [monday["id"]] });
    let answer = ask(&platform, "/api/v1/query", &body).await;
    assert!(
        !answer["answer"].as_str().unwrap().contains("nine"),
        "{answer}"
    );
    assert!(
        sources(&answer)
            .iter()
            .all(|source| source["document_id"] == monday["id"]),
        "{answer}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_nobody_answers_yet_becomes_a_job_that_does() {
    let mut setup = crate::setup();
    setup.workers = false;
    let platform = setup.start().await;
    // An ingress that stops tells those who wait; waiting for its patience to end would take half a minute.
    let stop = CancellationToken::new();
    let started = ingress::start(
        platform.config.clone(),
        platform.clock.clone(),
        stop.clone(),
    )
    .await;
    let (address, served) = started.unwrap();
    let asked = ["query", "search"].map(|path| {
        let request = platform
            .http
            .post(format!("http://{address}/api/v1/{path}"));
        let request = request.bearer_auth(platform.business.api_key.expose_secret());
        tokio::spawn(
            request
                .json(&json!({ "question": "Qui a peint la Joconde ?" }))
                .send(),
        )
    });
    eventually("the questions are queued", async || {
        let count = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM jobs WHERE kind = 'answer_question'",
        );
        (count.fetch_one(&platform.owner).await.unwrap() == 2).then_some(())
    })
    .await;
    stop.cancel();

    let mut jobs = Vec::new();
    for asked in asked {
        let response = asked.await.unwrap().unwrap();
        assert_eq!(response.status(), 202);
        let later: Value = response.json().await.unwrap();
        assert_eq!(keys(&later), ["job_id"]);
        jobs.push(format!(
            "/api/v1/jobs/{}",
            later["job_id"].as_str().unwrap()
        ));
    }
    served.await.unwrap();
    for path in &jobs {
        let job = platform.get_json(path).await;
        assert_eq!(
            (&job["kind"], &job["status"]),
            (&json!("answer_question"), &json!("queued"))
        );
        assert!(job.get("result").is_none(), "{job}");
    }

    let _workers = platform.spawn(&["workers"]);
    let mut results = Vec::new();
    for path in &jobs {
        let job = eventually("the job succeeds", async || {
            let job = platform.get_json(path).await;
            (job["status"] == "succeeded").then_some(job)
        })
        .await;
        results.push(job["result"].clone());
    }
    assert!(
        results[0]["answer"]
            .as_str()
            .unwrap()
            .starts_with("Je ne trouve pas"),
        "{results:?}"
    );
    assert_eq!(results[1], json!({ "sources": [] }));
    platform.stop().await;
}
