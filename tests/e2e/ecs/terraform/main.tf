# A service in the agents' cluster. The cluster is data: it is there for as long as its agents are.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" { type = string }
variable "image" { type = string }
variable "cluster" { type = string }

variable "release" {
  type    = string
  default = "1"
}

variable "desired" {
  type    = number
  default = 1
}

provider "aws" {
  endpoints {
    ecs = var.endpoint
  }
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
}

data "aws_ecs_cluster" "here" {
  cluster_name = var.cluster
}

resource "aws_ecs_task_definition" "web" {
  family = "web"
  container_definitions = jsonencode([{
    name        = "main"
    image       = var.image
    memory      = 32
    stopTimeout = 2
    environment = [{ name = "RELEASE", value = var.release }]
  }])
}

resource "aws_ecs_service" "web" {
  name            = "web"
  cluster         = data.aws_ecs_cluster.here.arn
  task_definition = aws_ecs_task_definition.web.arn
  desired_count   = var.desired
}

output "revision" {
  value = aws_ecs_task_definition.web.revision
}
