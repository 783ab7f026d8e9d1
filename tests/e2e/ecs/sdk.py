"""What programs do by boto3: waiters, paginators, typed errors; every answer as the model has it.

    sdk.py IMAGE ENDPOINT ENDPOINT ENDPOINT
"""

import itertools
import os
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import model

IMAGE, ENDPOINTS = sys.argv[1], sys.argv[2:]
FAULTS, SEEN = [], set()
SOON = {"Delay": 1, "MaxAttempts": 90}


def client(endpoint, **keys):
    made = boto3.client(
        "ecs",
        endpoint_url=endpoint,
        config=Config(retries={"total_max_attempts": 2, "mode": "standard"}),
        **keys,
    )
    model.watch(made, FAULTS, SEEN)
    return made


AGENTS = itertools.cycle([client(endpoint) for endpoint in ENDPOINTS])


def ask(operation, **arguments):
    """At another agent each time."""
    return getattr(next(AGENTS), operation)(**arguments)


def wait(waiter, **arguments):
    next(AGENTS).get_waiter(waiter).wait(WaiterConfig=SOON, **arguments)


def until(wanted, look):
    """What was written at one agent is at the others within milliseconds."""
    for _ in range(200):
        seen = look()
        if seen == wanted:
            return
        time.sleep(0.05)
    raise AssertionError(f"{seen}, not {wanted}")


def pages(operation, key, **arguments):
    paginator = next(AGENTS).get_paginator(operation)
    found = paginator.paginate(PaginationConfig={"PageSize": 1}, **arguments)
    return [item for page in found for item in page[key]]


def refused(kind, operation, **arguments):
    agent = arguments.pop("by", None) or next(AGENTS)
    expected = getattr(agent.exceptions, kind, ClientError)
    try:
        getattr(agent, operation)(**arguments)
    except expected as err:
        code = err.response["Error"]["Code"]
        assert code == kind, f"{operation}: {code}, not {kind}: {err}"
        assert len(err.response["Error"]["Message"]) > 10, err
    else:
        raise AssertionError(f"{operation} is not refused with {kind}")


def register(family):
    main = {"name": "main", "image": IMAGE, "memory": 32, "stopTimeout": 2}
    made = ask("register_task_definition", family=family, containerDefinitions=[main])
    return made["taskDefinition"]["taskDefinitionArn"]


def services():
    names = ["api", "front"]
    for name in names:
        register(name)
        token = f"token-{name}"
        for _ in range(2):
            made = ask(
                "create_service",
                serviceName=name,
                taskDefinition=name,
                desiredCount=1,
                clientToken=token,
            )
            assert made["service"]["serviceName"] == name
    wait("services_stable", services=names)
    found = pages("list_services", "serviceArns")
    assert [arn.rsplit("/")[-1] for arn in found] == names, found
    tasks = [task for name in names for task in pages("list_tasks", "taskArns", serviceName=name)]
    assert len(tasks) == 2, tasks
    wait("tasks_running", tasks=tasks)
    told = ask("describe_services", services=names + ["nobody"], include=["TAGS"])["services"][0]
    sentences = " ".join(event["message"] for event in told["events"])
    assert "(service api) has started 1 tasks: (task " in sentences, sentences
    assert "(service api) has reached a steady state." in sentences, sentences
    history(told)
    ask("describe_tasks", tasks=tasks, include=["TAGS"])
    refused("InvalidParameterException", "create_service", serviceName="api", taskDefinition="api", desiredCount=1)
    refused("InvalidParameterException", "delete_service", service="api")
    for name in names:
        ask("update_service", service=name, desiredCount=0)
        ask("delete_service", service=name, force=True)
    wait("services_inactive", services=names)
    wait("tasks_stopped", tasks=tasks)
    refused("ServiceNotActiveException", "update_service", service="api", desiredCount=1)
    refused("ServiceNotFoundException", "update_service", service="nobody", desiredCount=1)


def history(service):
    deployments = ask("list_service_deployments", service="api", status=["SUCCESSFUL"])
    arns = [one["serviceDeploymentArn"] for one in deployments["serviceDeployments"]]
    assert arns == [service["currentServiceDeployment"]], arns
    told = ask("describe_service_deployments", serviceDeploymentArns=arns)["serviceDeployments"]
    revision = told[0]["targetServiceRevision"]["arn"]
    told = ask("describe_service_revisions", serviceRevisionArns=[revision])["serviceRevisions"]
    assert told[0]["containerImages"][0]["image"] == IMAGE, told


def settings():
    told = pages("list_account_settings", "settings", effectiveSettings=True)
    assert {"taskLongArnFormat": "enabled"}.items() <= {one["name"]: one["value"] for one in told}.items()
    ask("put_account_setting", name="containerInsights", value="disabled")
    refused("InvalidParameterException", "put_account_setting", name="containerInsights", value="enabled")
    ask("delete_account_setting", name="containerInsights")
    own = ask("describe_clusters")["clusters"][0]["clusterName"]
    off = [{"name": "containerInsights", "value": "disabled"}]
    ask("update_cluster_settings", cluster=own, settings=off)
    ask("update_cluster", cluster=own, settings=off)


def definitions():
    arns = [register("many") for _ in range(3)]
    found = pages("list_task_definitions", "taskDefinitionArns", familyPrefix="many")
    assert found == arns, (found, arns)
    assert "many" in pages("list_task_definition_families", "families")
    told = ask("describe_task_definition", taskDefinition="many", include=["TAGS"])
    assert told["taskDefinition"]["revision"] == 3
    gone = ask("deregister_task_definition", taskDefinition="many:3")["taskDefinition"]
    assert gone["status"] == "INACTIVE" and gone["deregisteredAt"], gone
    told = ask("delete_task_definitions", taskDefinitions=["many:3", "many:2", "many:9"])
    assert [one["status"] for one in told["taskDefinitions"]] == ["DELETE_IN_PROGRESS"]
    assert len(told["failures"]) == 2, told["failures"]
    refused("ClientException", "describe_task_definition", taskDefinition="nobody")
    refused("ClientException", "run_task", taskDefinition="many:3")


def clusters():
    ask("create_cluster", clusterName="trial", tags=[{"key": "team", "value": "red"}])
    until(2, lambda: len(pages("list_clusters", "clusterArns")))
    register("job")
    refused("ClusterNotFoundException", "run_task", cluster="nowhere", taskDefinition="job")
    guest = client(
        ENDPOINTS[0],
        aws_access_key_id=os.environ["GUEST_ID"],
        aws_secret_access_key=os.environ["GUEST_SECRET"],
    )
    tags = [{"key": "run", "value": "first"}]
    task = guest.run_task(cluster="trial", taskDefinition="job", tags=tags)["tasks"][0]["taskArn"]
    assert ":task/trial/" in task, task
    wait("tasks_running", cluster="trial", tasks=[task])
    refused("AccessDeniedException", "run_task", by=guest, taskDefinition="job")
    hosts = pages("list_container_instances", "containerInstanceArns")
    elsewhere = ask("start_task", taskDefinition="job", containerInstances=[hosts[1], "nowhere"])
    assert [failure["reason"] for failure in elsewhere["failures"]] == ["MISSING"], elsewhere
    started = elsewhere["tasks"][0]["taskArn"]
    wait("tasks_running", tasks=[started])
    told = ask("describe_tasks", tasks=[started])["tasks"][0]
    assert told["containerInstanceArn"] == hosts[1], told
    # It does not see what is not in its cluster, whatever it calls it.
    identity = started.rsplit("/")[-1]
    for name in (identity, f"arn:aws:ecs:us-east-1:000000000000:task/trial/{identity}"):
        assert not guest.describe_tasks(cluster="trial", tasks=[name])["tasks"]
        refused("InvalidParameterException", "stop_task", by=guest, cluster="trial", task=name)
    refused("ClusterContainsTasksException", "delete_cluster", cluster="trial")
    until(tags, lambda: ask("list_tags_for_resource", resourceArn=task)["tags"])
    assert pages("list_tasks", "taskArns", cluster="trial") == [task]
    guest.stop_task(cluster="trial", task=task)
    ask("stop_task", task=started)
    wait("tasks_stopped", cluster="trial", tasks=[task])
    wait("tasks_stopped", tasks=[started])
    ask("delete_cluster", cluster="trial")
    trial = {"clusters": ["trial"]}
    until(["INACTIVE"], lambda: [one["status"] for one in ask("describe_clusters", **trial)["clusters"]])


def words():
    arn = register("tagged")
    ask("tag_resource", resourceArn=arn, tags=[{"key": "team", "value": "red"}, {"key": "x", "value": ""}])
    ask("untag_resource", resourceArn=arn, tagKeys=["x"])
    red = [{"key": "team", "value": "red"}]
    until(red, lambda: ask("describe_task_definition", taskDefinition="tagged", include=["TAGS"])["tags"])
    refused("ResourceNotFoundException", "list_tags_for_resource", resourceArn=arn[:-1] + "9")
    refused("InvalidParameterException", "tag_resource", resourceArn=arn, tags=[{"key": "aws:x", "value": "y"}])
    host = pages("list_container_instances", "containerInstanceArns")[0]
    ask("tag_resource", resourceArn=host, tags=[{"key": "rack", "value": "7"}])
    told = lambda: ask("describe_container_instances", containerInstances=[host], include=["TAGS"])
    until([{"key": "rack", "value": "7"}], lambda: told()["containerInstances"][0]["tags"])
    disk = {"name": "disk", "value": "fast", "targetId": host}
    assert ask("put_attributes", attributes=[disk])["attributes"][0]["value"] == "fast"
    shelf = {"targetType": "container-instance", "attributeName": "disk"}
    found = lambda: [one["targetId"] for one in pages("list_attributes", "attributes", **shelf)]
    until([host], found)
    ask("delete_attributes", attributes=[disk])
    until([], found)
    refused("TargetNotFoundException", "put_attributes", attributes=[{"name": "a", "targetId": "nowhere"}])


def others():
    clusters = ask("describe_clusters", include=["STATISTICS", "SETTINGS", "TAGS"])["clusters"]
    name = clusters[0]["clusterName"]
    assert ask("create_cluster", clusterName=name)["cluster"]["status"] == "ACTIVE"
    refused("ClusterContainsContainerInstancesException", "delete_cluster", cluster=name)
    refused("ClusterNotFoundException", "list_tasks", cluster="nowhere")
    hosts = pages("list_container_instances", "containerInstanceArns")
    assert len(hosts) == len(ENDPOINTS), hosts
    ask("describe_container_instances", containerInstances=hosts, include=["TAGS"])
    refused("UnknownOperationException", "execute_command", command="id", interactive=True, task="x")


def access():
    reader = client(
        ENDPOINTS[0],
        aws_access_key_id=os.environ["READER_ID"],
        aws_secret_access_key=os.environ["READER_SECRET"],
    )
    assert reader.list_clusters()["clusterArns"]
    refused("AccessDeniedException", "delete_service", service="api", by=reader)
    secret = {"aws_secret_access_key": "no such secret, of some length"}
    stranger = client(ENDPOINTS[0], aws_access_key_id="HF00", **secret)
    refused("UnrecognizedClientException", "list_clusters", by=stranger)
    guesser = client(ENDPOINTS[0], aws_access_key_id=os.environ["READER_ID"], **secret)
    refused("InvalidSignatureException", "list_clusters", by=guesser)


for story in (definitions, services, clusters, words, settings, others, access):
    story()
    print(f"{story.__name__}: well")
assert not FAULTS, "\n".join(sorted(set(FAULTS)))
print(f"{len(SEEN)} operations, each answer as the model has it: {' '.join(sorted(SEEN))}")
