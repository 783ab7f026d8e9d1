# A service in a cluster of its own, with tags on all of it.

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

locals {
  tags = { team = "red", release = var.release }
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

resource "aws_ecs_cluster" "own" {
  name = var.cluster
  tags = local.tags
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
  tags = local.tags
}

resource "aws_ecs_service" "web" {
  name            = "web"
  cluster         = aws_ecs_cluster.own.arn
  task_definition = aws_ecs_task_definition.web.arn
  desired_count   = var.desired
  tags            = local.tags
}

output "revision" {
  value = aws_ecs_task_definition.web.revision
}
