# An Amazon machine image of Holdfast: Debian's own image for EC2, with Docker and Holdfast, sealed.
#
#   packer init ami && packer build -var deb=holdfast_0.1.0-1_amd64.deb -var region=eu-central-1 ami
#
# It makes what ami/bake.sh makes, by the same ami/provision.sh, on a base that has cloud-init and sshd.

packer {
  required_version = ">= 1.8.0"
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.0"
    }
  }
}

variable "deb" {
  type        = string
  description = "Holdfast's package for Debian, as packaging/package.sh makes it."
}

variable "region" {
  type        = string
  default     = "us-east-1"
  description = "Where the image is built and kept."
}

variable "name" {
  type        = string
  default     = "holdfast"
  description = "The image's name; the time is added, since names are not used twice."
}

variable "instance_type" {
  type        = string
  default     = "t3.small"
  description = "The machine that it is built on, of the architecture of the package."
}

variable "source_ami_name" {
  type        = string
  default     = "debian-12-amd64-*"
  description = "Debian's image to start from: the newest of this name."
}

variable "source_ami_owner" {
  type        = string
  default     = "136693071363"
  description = "The account that publishes it: Debian's."
}

variable "subnet_id" {
  type        = string
  default     = null
  description = "Where the machine is started, if there is no default VPC."
}

variable "encrypt" {
  type        = bool
  default     = true
  description = "Whether the image's snapshot is encrypted, with the account's default key. Such an image cannot be made public."
}

variable "volume_gib" {
  type        = number
  default     = 8
  description = "The root volume of a host; instances may be given a larger one."
}

locals {
  time = formatdate("YYYYMMDD-hhmmss", timestamp())
}

source "amazon-ebs" "holdfast" {
  region        = var.region
  instance_type = var.instance_type
  subnet_id     = var.subnet_id
  ssh_username  = "admin"

  ami_name        = "${var.name}-${local.time}"
  ami_description = "Debian 12 with Docker and the Holdfast agent"
  encrypt_boot    = var.encrypt

  # Without a token there is no metadata: of instances made from the image, and while it is built. What
  # the image cannot say is the hop limit, which is 2 for them unless who starts them says 1.
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  source_ami_filter {
    filters = {
      name                = var.source_ami_name
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = [var.source_ami_owner]
    most_recent = true
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    iops                  = 3000
    throughput            = 125
    volume_size           = var.volume_gib
    delete_on_termination = true
  }

  tags = {
    Name = "${var.name}-${local.time}"
    base = "{{ .SourceAMIName }}"
  }
}

build {
  sources = ["source.amazon-ebs.holdfast"]

  # cloud-init installs and restarts things while it runs; both would be in each other's way.
  provisioner "shell" {
    inline = ["cloud-init status --wait >/dev/null || true", "mkdir /tmp/provision"]
  }

  provisioner "file" {
    source      = var.deb
    destination = "/tmp/provision/holdfast.deb"
  }

  provisioner "file" {
    source      = "${path.root}/provision.sh"
    destination = "/tmp/provision/provision.sh"
  }

  # The last: what it has sealed is not to be touched any more.
  provisioner "shell" {
    inline = [
      "sudo sh /tmp/provision/provision.sh /tmp/provision/holdfast.deb",
      "rm -r /tmp/provision",
    ]
  }
}
