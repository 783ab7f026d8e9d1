//! The names of ECS's input fields, copied from botocore 1.44.5 (`ecs/2014-11-13/service-2.json`).
//!
//! Complete on purpose, served or not: a name that is missing here would be called a typing error
//! where it is in truth something that Holdfast does not serve yet.

/// The input of `RegisterTaskDefinition`.
pub const REGISTER_TASK_DEFINITION: &[&str] = &[
    "family",
    "taskRoleArn",
    "executionRoleArn",
    "networkMode",
    "containerDefinitions",
    "volumes",
    "placementConstraints",
    "requiresCompatibilities",
    "cpu",
    "memory",
    "tags",
    "pidMode",
    "ipcMode",
    "proxyConfiguration",
    "inferenceAccelerators",
    "ephemeralStorage",
    "runtimePlatform",
    "enableFaultInjection",
    "trustedExecutionConfiguration",
];

/// The input of `CreateService`.
pub const CREATE_SERVICE: &[&str] = &[
    "cluster",
    "serviceName",
    "taskDefinition",
    "availabilityZoneRebalancing",
    "loadBalancers",
    "serviceRegistries",
    "desiredCount",
    "clientToken",
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "role",
    "deploymentConfiguration",
    "placementConstraints",
    "placementStrategy",
    "networkConfiguration",
    "healthCheckGracePeriodSeconds",
    "schedulingStrategy",
    "deploymentController",
    "tags",
    "enableECSManagedTags",
    "propagateTags",
    "enableExecuteCommand",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
    "gatewayConnectors",
    "monitoring",
];

/// The input of `UpdateService`.
pub const UPDATE_SERVICE: &[&str] = &[
    "cluster",
    "service",
    "desiredCount",
    "taskDefinition",
    "capacityProviderStrategy",
    "deploymentConfiguration",
    "availabilityZoneRebalancing",
    "networkConfiguration",
    "placementConstraints",
    "placementStrategy",
    "platformVersion",
    "forceNewDeployment",
    "healthCheckGracePeriodSeconds",
    "deploymentController",
    "enableExecuteCommand",
    "enableECSManagedTags",
    "loadBalancers",
    "propagateTags",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
    "gatewayConnectors",
    "monitoring",
];

/// `DeploymentConfiguration`.
pub const DEPLOYMENT_CONFIGURATION: &[&str] = &[
    "deploymentCircuitBreaker",
    "maximumPercent",
    "minimumHealthyPercent",
    "alarms",
    "strategy",
    "bakeTimeInMinutes",
    "lifecycleHooks",
    "linearConfiguration",
    "canaryConfiguration",
];

/// `DeploymentCircuitBreaker`.
pub const CIRCUIT_BREAKER: &[&str] = &[
    "enable",
    "rollback",
    "resetOnHealthyTask",
    "thresholdConfiguration",
];

/// `DeploymentAlarms`.
pub const DEPLOYMENT_ALARMS: &[&str] = &["alarmNames", "rollback", "enable"];

/// The input of `TagResource`.
pub const TAG_RESOURCE: &[&str] = &["resourceArn", "tags"];

/// The input of `UntagResource`.
pub const UNTAG_RESOURCE: &[&str] = &["resourceArn", "tagKeys"];

/// The input of `ListTagsForResource`.
pub const LIST_TAGS_FOR_RESOURCE: &[&str] = &["resourceArn"];

/// The input of `DescribeTaskDefinition`.
pub const DESCRIBE_TASK_DEFINITION: &[&str] = &["taskDefinition", "include"];

/// The input of `ListTaskDefinitions`.
pub const LIST_TASK_DEFINITIONS: &[&str] =
    &["familyPrefix", "status", "sort", "nextToken", "maxResults"];

/// The input of `DeregisterTaskDefinition`.
pub const DEREGISTER_TASK_DEFINITION: &[&str] = &["taskDefinition"];

/// The input of `DeleteTaskDefinitions`.
pub const DELETE_TASK_DEFINITIONS: &[&str] = &["taskDefinitions"];

/// The input of `ListTaskDefinitionFamilies`.
pub const LIST_TASK_DEFINITION_FAMILIES: &[&str] =
    &["familyPrefix", "status", "nextToken", "maxResults"];

/// The input of `CreateCluster`.
pub const CREATE_CLUSTER: &[&str] = &[
    "clusterName",
    "tags",
    "settings",
    "configuration",
    "capacityProviders",
    "defaultCapacityProviderStrategy",
    "serviceConnectDefaults",
];

/// The input of `DeleteCluster`.
pub const DELETE_CLUSTER: &[&str] = &["cluster"];

/// The input of `DescribeClusters`.
pub const DESCRIBE_CLUSTERS: &[&str] = &["clusters", "include"];

/// The input of `ListClusters`.
pub const LIST_CLUSTERS: &[&str] = &["nextToken", "maxResults"];

/// The input of `UpdateCluster`.
pub const UPDATE_CLUSTER: &[&str] = &[
    "cluster",
    "settings",
    "configuration",
    "serviceConnectDefaults",
];

/// The input of `UpdateClusterSettings`.
pub const UPDATE_CLUSTER_SETTINGS: &[&str] = &["cluster", "settings"];

/// The shape `ClusterSetting`.
pub const CLUSTER_SETTING: &[&str] = &["name", "value"];

/// The input of `ListAccountSettings`.
pub const LIST_ACCOUNT_SETTINGS: &[&str] = &[
    "name",
    "value",
    "principalArn",
    "effectiveSettings",
    "nextToken",
    "maxResults",
];

/// The input of `PutAccountSetting`.
pub const PUT_ACCOUNT_SETTING: &[&str] = &["name", "value", "principalArn"];

/// The input of `PutAccountSettingDefault`.
pub const PUT_ACCOUNT_SETTING_DEFAULT: &[&str] = &["name", "value"];

/// The input of `DeleteAccountSetting`.
pub const DELETE_ACCOUNT_SETTING: &[&str] = &["name", "principalArn"];

/// The input of `DeleteService`.
pub const DELETE_SERVICE: &[&str] = &["cluster", "service", "force"];

/// The input of `DescribeServices`.
pub const DESCRIBE_SERVICES: &[&str] = &["cluster", "services", "include"];

/// The input of `ListServices`.
pub const LIST_SERVICES: &[&str] = &[
    "cluster",
    "nextToken",
    "maxResults",
    "launchType",
    "schedulingStrategy",
    "resourceManagementType",
];

/// The input of `ListServiceDeployments`.
pub const LIST_SERVICE_DEPLOYMENTS: &[&str] = &[
    "service",
    "cluster",
    "status",
    "createdAt",
    "nextToken",
    "maxResults",
];

/// The shape `CreatedAt`.
pub const CREATED_AT: &[&str] = &["before", "after"];

/// The input of `DescribeServiceDeployments`.
pub const DESCRIBE_SERVICE_DEPLOYMENTS: &[&str] = &["serviceDeploymentArns"];

/// The input of `DescribeServiceRevisions`.
pub const DESCRIBE_SERVICE_REVISIONS: &[&str] = &["serviceRevisionArns"];

/// The input of `ListTasks`.
pub const LIST_TASKS: &[&str] = &[
    "cluster",
    "containerInstance",
    "family",
    "nextToken",
    "maxResults",
    "startedBy",
    "serviceName",
    "desiredStatus",
    "launchType",
    "daemonName",
];

/// The input of `DescribeTasks`.
pub const DESCRIBE_TASKS: &[&str] = &["cluster", "tasks", "include"];

/// The input of `RunTask`.
pub const RUN_TASK: &[&str] = &[
    "capacityProviderStrategy",
    "cluster",
    "count",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "group",
    "launchType",
    "networkConfiguration",
    "overrides",
    "placementConstraints",
    "placementStrategy",
    "platformVersion",
    "propagateTags",
    "referenceId",
    "startedBy",
    "tags",
    "taskDefinition",
    "clientToken",
    "volumeConfigurations",
];

/// The input of `StartTask`.
pub const START_TASK: &[&str] = &[
    "cluster",
    "containerInstances",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "group",
    "networkConfiguration",
    "overrides",
    "propagateTags",
    "referenceId",
    "startedBy",
    "tags",
    "taskDefinition",
    "volumeConfigurations",
];

/// The input of `PutAttributes` and of `DeleteAttributes`.
pub const PUT_ATTRIBUTES: &[&str] = &["cluster", "attributes"];

/// The input of `ListAttributes`.
pub const LIST_ATTRIBUTES: &[&str] = &[
    "cluster",
    "targetType",
    "attributeName",
    "attributeValue",
    "nextToken",
    "maxResults",
];

/// The shape `Attribute`.
pub const ATTRIBUTE: &[&str] = &["name", "value", "targetType", "targetId"];

/// `TaskOverride`.
pub const TASK_OVERRIDE: &[&str] = &[
    "containerOverrides",
    "cpu",
    "inferenceAcceleratorOverrides",
    "executionRoleArn",
    "memory",
    "taskRoleArn",
    "ephemeralStorage",
];

/// `ContainerOverride`.
pub const CONTAINER_OVERRIDE: &[&str] = &[
    "name",
    "command",
    "environment",
    "environmentFiles",
    "cpu",
    "memory",
    "memoryReservation",
    "resourceRequirements",
];

/// The input of `StopTask`.
pub const STOP_TASK: &[&str] = &["cluster", "task", "reason"];

/// The input of `UpdateTaskProtection`.
pub const UPDATE_TASK_PROTECTION: &[&str] =
    &["cluster", "tasks", "protectionEnabled", "expiresInMinutes"];

/// The input of `GetTaskProtection`.
pub const GET_TASK_PROTECTION: &[&str] = &["cluster", "tasks"];

/// The input of `ListContainerInstances`.
pub const LIST_CONTAINER_INSTANCES: &[&str] =
    &["cluster", "filter", "nextToken", "maxResults", "status"];

/// The input of `DescribeContainerInstances`.
pub const DESCRIBE_CONTAINER_INSTANCES: &[&str] = &["cluster", "containerInstances", "include"];

/// The input of `UpdateContainerInstancesState`.
pub const UPDATE_CONTAINER_INSTANCES_STATE: &[&str] = &["cluster", "containerInstances", "status"];

/// The input of `DeregisterContainerInstance`.
pub const DEREGISTER_CONTAINER_INSTANCE: &[&str] = &["cluster", "containerInstance", "force"];

/// The shape `ContainerDefinition`.
pub const CONTAINER_DEFINITION: &[&str] = &[
    "name",
    "image",
    "repositoryCredentials",
    "cpu",
    "memory",
    "memoryReservation",
    "links",
    "portMappings",
    "essential",
    "restartPolicy",
    "entryPoint",
    "command",
    "environment",
    "environmentFiles",
    "mountPoints",
    "volumesFrom",
    "linuxParameters",
    "secrets",
    "dependsOn",
    "startTimeout",
    "stopTimeout",
    "versionConsistency",
    "hostname",
    "user",
    "workingDirectory",
    "disableNetworking",
    "privileged",
    "readonlyRootFilesystem",
    "dnsServers",
    "dnsSearchDomains",
    "extraHosts",
    "dockerSecurityOptions",
    "interactive",
    "pseudoTerminal",
    "dockerLabels",
    "ulimits",
    "logConfiguration",
    "healthCheck",
    "systemControls",
    "resourceRequirements",
    "firelensConfiguration",
    "credentialSpecs",
];

/// The shape `PortMapping`.
pub const PORT_MAPPING: &[&str] = &[
    "containerPort",
    "hostPort",
    "protocol",
    "name",
    "appProtocol",
    "containerPortRange",
];

/// The shape `MountPoint`.
pub const MOUNT_POINT: &[&str] = &["sourceVolume", "containerPath", "readOnly"];

/// The shape `ContainerDependency`.
pub const CONTAINER_DEPENDENCY: &[&str] = &["containerName", "condition"];

/// The shape `LogConfiguration`.
pub const LOG_CONFIGURATION: &[&str] = &["logDriver", "options", "secretOptions"];

/// The shape `HealthCheck`.
pub const HEALTH_CHECK: &[&str] = &["command", "interval", "timeout", "retries", "startPeriod"];

/// The shape `ContainerRestartPolicy`.
pub const RESTART_POLICY: &[&str] = &["enabled", "ignoredExitCodes", "restartAttemptPeriod"];

/// The shape `ResourceRequirement`.
pub const RESOURCE_REQUIREMENT: &[&str] = &["value", "type"];

/// The shape `VolumeFrom`.
pub const VOLUME_FROM: &[&str] = &["sourceContainer", "readOnly"];

/// The shape `RuntimePlatform`.
pub const RUNTIME_PLATFORM: &[&str] = &["cpuArchitecture", "operatingSystemFamily"];

/// The shape `HostEntry`.
pub const HOST_ENTRY: &[&str] = &["hostname", "ipAddress"];

/// The shape `Ulimit`.
pub const ULIMIT: &[&str] = &["name", "softLimit", "hardLimit"];

/// The shape `SystemControl`.
pub const SYSTEM_CONTROL: &[&str] = &["namespace", "value"];

/// The shape `LinuxParameters`.
pub const LINUX_PARAMETERS: &[&str] = &[
    "capabilities",
    "devices",
    "initProcessEnabled",
    "sharedMemorySize",
    "tmpfs",
    "maxSwap",
    "swappiness",
];

/// The shape `KernelCapabilities`.
pub const KERNEL_CAPABILITIES: &[&str] = &["add", "drop"];

/// The shape `Device`.
pub const DEVICE: &[&str] = &["hostPath", "containerPath", "permissions"];

/// The shape `Tmpfs`.
pub const TMPFS: &[&str] = &["containerPath", "size", "mountOptions"];

/// The shape `Volume`.
pub const VOLUME: &[&str] = &[
    "name",
    "host",
    "dockerVolumeConfiguration",
    "efsVolumeConfiguration",
    "s3filesVolumeConfiguration",
    "fsxWindowsFileServerVolumeConfiguration",
    "configuredAtLaunch",
];

/// The shape `HostVolumeProperties`.
pub const HOST_VOLUME_PROPERTIES: &[&str] = &["sourcePath"];

/// The shape `DockerVolumeConfiguration`.
pub const DOCKER_VOLUME: &[&str] = &["scope", "autoprovision", "driver", "driverOpts", "labels"];

/// The shape `Secret`.
pub const SECRET: &[&str] = &["name", "valueFrom"];

/// The shape `EnvironmentFile`.
pub const ENVIRONMENT_FILE: &[&str] = &["value", "type"];

/// The shape `KeyValuePair`.
pub const KEY_VALUE_PAIR: &[&str] = &["name", "value"];

/// Members of the answers `TaskDefinition` and `Service` that the inputs lack: whoever sends the
/// answer of a `describe` call back is told so, instead of being told of a typing error.
pub const ANSWERED: &[&str] = &[
    "clusterArn",
    "compatibilities",
    "createdAt",
    "createdBy",
    "currentServiceDeployment",
    "currentServiceRevisions",
    "deleteRequestedAt",
    "deployments",
    "deregisteredAt",
    "events",
    "pendingCount",
    "platformFamily",
    "registeredAt",
    "registeredBy",
    "requiresAttributes",
    "resourceManagementType",
    "revision",
    "roleArn",
    "runningCount",
    "serviceArn",
    "status",
    "taskDefinitionArn",
    "taskSets",
];
