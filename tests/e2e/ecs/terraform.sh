#!/usr/bin/env bash
# A cluster and a service in it by Terraform: made, left as they are, changed, and destroyed, each
# step at another agent.
#
#   terraform.sh ENDPOINT ENDPOINT ENDPOINT CLUSTER IMAGE DIRECTORY
#
# Works in DIRECTORY. TF_PLUGIN_DIR, where it is set, has the provider.
set -euo pipefail
a=$1 b=$2 c=$3 cluster=$4 image=$5 directory=$6
cp "$(dirname "$0")/terraform/main.tf" "$directory"
cd "$directory"
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_INPUT=0
unset TF_CLI_CONFIG_FILE

# at ENDPOINT COMMAND …: has Terraform ask that agent.
at() {
    local endpoint=$1 command=$2
    shift 2
    terraform "$command" -no-color -var "endpoint=$endpoint" -var "cluster=$cluster" \
        -var "image=$image" "$@"
}

# unchanged ENDPOINT …: nothing is to be done, as what is answered is what was asked for.
unchanged() {
    local endpoint=$1
    shift
    at "$endpoint" plan -detailed-exitcode "$@"
    echo "nothing to change"
}

terraform init -no-color ${TF_PLUGIN_DIR:+-plugin-dir="$TF_PLUGIN_DIR"}
at "$a" apply -auto-approve
unchanged "$b"
at "$c" apply -auto-approve -var release=2 -var desired=2
unchanged "$a" -var release=2 -var desired=2
[ "$(terraform output -no-color revision)" = 2 ]
at "$b" destroy -auto-approve -var release=2 -var desired=2
echo "destroyed"
