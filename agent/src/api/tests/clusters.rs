//! The one cluster, as ECS's clients ask for it.

use super::board::{board, call};
use crate::api::Operation;
use expect_test::expect_file;
use serde_json::json;

#[test]
fn the_cluster_of_the_agents_is_the_only_one() {
    let board = board();
    let ask = |operation, body| call(&board, operation, &body);
    let shown = [
        ask(Operation::ListClusters, json!({})),
        ask(Operation::DescribeClusters, json!({})),
        ask(
            Operation::DescribeClusters,
            json!({"clusters": ["nope", "shop"], "include": ["STATISTICS", "TAGS"]}),
        ),
        ask(Operation::CreateCluster, json!({})),
    ];
    expect_file!["snapshots/clusters.json"].assert_eq(&shown.join("\n"));
}

#[test]
fn no_other_cluster_is_made_and_this_one_is_not_deleted() {
    let board = board();
    let ask = |operation, body| call(&board, operation, &body);
    let refused = [
        ask(Operation::CreateCluster, json!({"clusterName": "other"})),
        ask(
            Operation::CreateCluster,
            json!({"clusterName": "shop", "capacityProviders": ["FARGATE"]}),
        ),
        ask(Operation::DeleteCluster, json!({"cluster": "shop"})),
        ask(Operation::DeleteCluster, json!({"cluster": "other"})),
        ask(Operation::DeleteCluster, json!({})),
        ask(Operation::DescribeClusters, json!({"include": ["ALL"]})),
        ask(Operation::DescribeClusters, json!({"clusters": ["a b"]})),
    ];
    expect_file!["snapshots/cluster_refusals.txt"].assert_eq(&refused.join("\n"));
}
