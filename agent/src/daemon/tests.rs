//! Whole agents in this process: on loopback, each with its own state directory, without Docker.

mod cluster;

use super::*;
use cluster::Cluster;
use holdfast_core::event::HostStanding;

#[tokio::test]
async fn agents_that_all_come_back_with_new_addresses_find_each_other_again() {
    let mut cluster = Cluster::new(3);
    for number in 0..3 {
        cluster.start(number).await;
    }
    cluster.list_peers();
    cluster.until_all_see(3, HostStanding::Up).await;
    let before = cluster.addresses();
    for number in 0..3 {
        cluster.kill(number).await;
    }
    for number in 0..3 {
        cluster.start(number).await;
    }
    assert!(cluster.addresses().iter().all(|new| !before.contains(new)));
    cluster.list_peers();
    cluster.until_all_see(3, HostStanding::Up).await;
}
