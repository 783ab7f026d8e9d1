#!/usr/bin/env bash
# The life of a service by `aws ecs`, each step at another agent of the cluster.
#
#   life.sh ENDPOINT ENDPOINT ENDPOINT IMAGE
#
# The environment has a key of role admin, as `eval "$(holdfast ecs env)"` sets it.
set -euo pipefail
a=$1 b=$2 c=$3 image=$4

# at ENDPOINT OPERATION …: asks that agent, and prints what is asked for with --query.
at() {
    local endpoint=$1
    shift
    aws --endpoint-url "$endpoint" --output text ecs "$@"
}

# until_is WANTED COMMAND …: waiters look once in 15 s; this looks as often as it can.
until_is() {
    local wanted=$1 is
    shift
    until is=$("$@") && [ "$is" = "$wanted" ]; do
        if [ "$SECONDS" -gt 120 ]; then
            echo "$* says '$is', not '$wanted'" >&2
            exit 1
        fi
    done
}

# is WHAT WANTED: one step of the story, told and checked.
is() {
    if [ "$2" != "$3" ]; then
        echo "$1: '$2', not '$3'" >&2
        exit 1
    fi
    echo "$1: $2"
}

containers() {
    cat <<JSON
[{"name": "main", "image": "$image", "memory": 32, "stopTimeout": 2,
  "environment": [{"name": "RELEASE", "value": "$1"}]}]
JSON
}

# --- a service is made --------------------------------------------------------------------------
is "registered" "$(at "$a" register-task-definition --family web \
    --container-definitions "$(containers 1)" \
    --query 'taskDefinition.[family, revision, status]')" $'web\t1\tACTIVE'
is "created" "$(at "$b" create-service --service-name web --task-definition web \
    --desired-count 2 --query 'service.[serviceName, status, desiredCount]')" $'web\tACTIVE\t2'
until_is 2 at "$c" describe-services --services web --query 'services[0].runningCount'
at "$a" wait services-stable --services web
is "listed" "$(at "$b" list-services --query 'serviceArns[*]' | sed 's#.*/##')" web
tasks=$(at "$c" list-tasks --service-name web --query 'taskArns[*]')
# shellcheck disable=SC2086 # there are two
at "$b" wait tasks-running --tasks $tasks
is "running" "$(at "$a" describe-clusters --query 'clusters[0].[status, runningTasksCount]')" \
    $'ACTIVE\t2'

# --- it is changed ------------------------------------------------------------------------------
is "registered" "$(at "$b" register-task-definition --family web \
    --container-definitions "$(containers 2)" --query 'taskDefinition.revision')" 2
at "$c" update-service --service web --task-definition web:2 --desired-count 3 \
    --query 'service.serviceName' >/dev/null
until_is $'3\t1' at "$a" describe-services --services web \
    --query 'services[0].[runningCount, length(deployments)]'
at "$b" wait services-stable --services web
is "made of" "$(at "$c" describe-services --services web \
    --query 'services[0].taskDefinition' | sed 's#.*/##')" web:2

# --- what it was made of is taken back ----------------------------------------------------------
is "taken back" "$(at "$a" deregister-task-definition --task-definition web:1 \
    --query 'taskDefinition.status')" INACTIVE
until_is web:1 bash -c "aws --endpoint-url '$b' --output text ecs list-task-definitions \
    --status INACTIVE --query 'taskDefinitionArns[*]' | sed 's#.*/##'"
is "families" "$(at "$c" list-task-definition-families --query 'families[*]')" web
is "deleted" "$(at "$a" delete-task-definitions --task-definitions web:1 \
    --query 'taskDefinitions[0].status')" DELETE_IN_PROGRESS

# --- a task is run once, and stopped ------------------------------------------------------------
task=$(at "$b" run-task --task-definition web:2 --started-by me --query 'tasks[0].taskArn')
at "$c" wait tasks-running --tasks "$task"
at "$a" stop-task --task "$task" --reason "it is enough" --query 'task.taskArn' >/dev/null
at "$b" wait tasks-stopped --tasks "$task"
is "stopped" "$(at "$c" describe-tasks --tasks "$task" \
    --query 'tasks[0].[lastStatus, stopCode, startedBy]')" $'STOPPED\tUserInitiated\tme'

# --- a host is drained --------------------------------------------------------------------------
instance=$(at "$a" list-container-instances --query 'containerInstanceArns[0]')
is "drained" "$(at "$b" update-container-instances-state --container-instances "$instance" \
    --status DRAINING --query 'containerInstances[0].status')" DRAINING
until_is 0 at "$c" describe-container-instances --container-instances "$instance" \
    --query 'containerInstances[0].runningTasksCount'
is "active again" "$(at "$a" update-container-instances-state --container-instances "$instance" \
    --status ACTIVE --query 'containerInstances[0].status')" ACTIVE

# --- a cluster of its own, over the same hosts --------------------------------------------------
is "made" "$(at "$a" create-cluster --cluster-name staging --tags key=team,value=red \
    --query 'cluster.[clusterName, status, tags[0].value]')" $'staging\tACTIVE\tred'
at "$b" create-service --cluster staging --service-name web --task-definition web:2 \
    --desired-count 1 --tags key=team,value=blue --query 'service.serviceName' >/dev/null
until_is 1 at "$c" describe-services --cluster staging --services web \
    --query 'services[0].runningCount'
is "beside" "$(at "$a" describe-services --services web --query 'services[0].desiredCount')" 3
arn=$(at "$b" describe-services --cluster staging --services web --query 'services[0].serviceArn')
at "$c" tag-resource --resource-arn "$arn" --tags key=tier,value=front
is "tagged" "$(at "$a" list-tags-for-resource --resource-arn "$arn" --query 'tags[*].value')" \
    $'blue\tfront'
at "$b" delete-service --cluster staging --service web --force --query 'service.status' >/dev/null
until_is 0 at "$c" describe-clusters --clusters staging --query 'clusters[0].runningTasksCount'
is "given up" "$(at "$a" delete-cluster --cluster staging --query 'cluster.status')" INACTIVE

# --- the service ends ---------------------------------------------------------------------------
at "$b" update-service --service web --desired-count 0 --query 'service.serviceName' >/dev/null
until_is 0 at "$c" describe-services --services web --query 'services[0].runningCount'
at "$a" delete-service --service web --query 'service.status' >/dev/null
until_is INACTIVE at "$b" describe-services --services web --query 'services[0].status'
at "$c" wait services-inactive --services web
is "ended" "$(at "$a" list-services --query 'length(serviceArns)')" 0
