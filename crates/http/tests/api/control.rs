//! `POST /promote` and `POST /handoff`.

use crate::node::{Node, primary};

#[tokio::test]
async fn requests_reach_the_member_and_its_refusals_the_client() {
    let node = Node::start(primary()).await;
    for (path, status, text) in [
        ("/promote", 409, "not eligible to become primary\n"),
        ("/promote?force=true", 200, ""),
        ("/promote?force=maybe", 400, "invalid force\n"),
        ("/handoff", 200, ""),
        ("/handoff?nodeID=", 200, ""),
        ("/handoff?nodeID=0000000000000002", 200, ""),
        ("/handoff?nodeID=AB", 500, "cannot handoff: ab\n"),
        ("/handoff?nodeID=nonsense", 400, "invalid node id\n"),
        (
            "/handoff?nodeID=00000000000000002",
            400,
            "invalid node id\n",
        ),
    ] {
        let answer = node.post(path).await;
        assert_eq!(answer.said(), (status, text), "{path}");
    }
    assert_eq!(node.get("/promote").await.status, 405);
}
