// swift-tools-version: 6.2
import PackageDescription

// One list for every target, so that no part of the house is built to a looser rule than another.
let settings: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  // A C type in a public signature of `Xen` or `DeviceMapper` does not compile: imports are internal.
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let nio = ["NIOCore", "NIOPosix", "NIOHTTP1"].map { Target.Dependency.product(name: $0, package: "swift-nio") }

let package = Package(
  name: "ckpt",
  products: [
    .library(name: "Checkpoint", targets: ["Checkpoint"]),
    .executable(name: "ckpt", targets: ["ckpt"]),
    .executable(name: "ckptd", targets: ["ckptd"]),
    .executable(name: "ckpt-guard", targets: ["ckpt-guard"]),
    .executable(name: "ckpt-bench", targets: ["ckpt-bench"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    // For the daemon and its client only; no library target below has any of them.
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
  ],
  targets: [
    // C libraries: module maps and the smallest shim headers.
    .systemLibrary(
      name: "CXen", pkgConfig: "xencontrol xenguest xendevicemodel xenforeignmemory xenevtchn xenstore",
      providers: [.apt(["libxen-dev"])]),
    // A C target, not a module map: libdevmapper's log callback is variadic, and the pause has its own calls.
    .target(
      name: "CDeviceMapper", cSettings: [.enableWarning("all"), .treatAllWarnings(as: .error)],
      linkerSettings: [.linkedLibrary("devmapper")]),
    .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
    .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
    .target(
      name: "CLinux", cSettings: [.enableWarning("all"), .treatAllWarnings(as: .error)]),

    // Libraries: arrows point one way, downwards.
    .target(name: "Xen", dependencies: ["CXen", "CLinux"], swiftSettings: settings),
    .target(
      name: "DeviceMapper", dependencies: ["CDeviceMapper", "CLinux"], swiftSettings: settings),
    .target(name: "MigrationStream", swiftSettings: settings),
    .target(
      name: "EpochStore", dependencies: ["CLZ4", "CXXHash", "CLinux"], swiftSettings: settings),
    .target(
      name: "Checkpoint",
      dependencies: ["Xen", "DeviceMapper", "MigrationStream", "EpochStore", "CLinux", "CXXHash"],
      swiftSettings: settings),
    .target(name: "ControlAPI", dependencies: ["Checkpoint", "EpochStore", "Xen"], swiftSettings: settings),

    // When epochs are taken, and which stay. Knows no engine: what a take is, it is told.
    .target(
      name: "Scheduling", dependencies: ["EpochStore", "CLinux", "CXXHash"], path: "Daemon/Scheduling",
      swiftSettings: settings),

    // What the service tells machines; needs no server.
    .target(
      name: "Signals", dependencies: ["Checkpoint", "EpochStore", "Scheduling"], path: "Daemon/Signals",
      swiftSettings: settings),

    // Tools.
    .executableTarget(
      name: "ckpt",
      dependencies: [
        "ControlAPI", "Checkpoint", "Scheduling", "Xen", "DeviceMapper", "EpochStore", "CLinux", arguments,
      ] + nio,
      path: "Tools/ckpt", swiftSettings: settings),
    .executableTarget(
      name: "ckptd",
      dependencies: [
        "ControlAPI", "Checkpoint", "Scheduling", "Signals", "EpochStore", "Xen", "CLinux", arguments,
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOExtras", package: "swift-nio-extras"),
      ] + nio,
      path: "Daemon/ckptd", swiftSettings: settings),
    .executableTarget(
      name: "ckpt-guard", dependencies: ["Checkpoint"], path: "Daemon/ckpt-guard", swiftSettings: settings),
    .executableTarget(
      name: "ckpt-bench",
      dependencies: ["ControlAPI", "Checkpoint", "Xen", "EpochStore", "MigrationStream", "CLZ4", arguments],
      path: "Tools/bench",
      exclude: ["run", "daemon.sh", "lab"],
      swiftSettings: settings),

    // Tests that need neither Xen nor root. `Tests/Lab` holds the scenarios on real Xen.
    .testTarget(name: "XenTests", dependencies: ["Xen"], swiftSettings: settings),
    .testTarget(name: "DeviceMapperTests", dependencies: ["DeviceMapper"], swiftSettings: settings),
    .testTarget(
      name: "MigrationStreamTests", dependencies: ["MigrationStream"], swiftSettings: settings),
    .testTarget(name: "EpochStoreTests", dependencies: ["EpochStore"], swiftSettings: settings),
    .testTarget(
      name: "SchedulingTests", dependencies: ["Scheduling", "Checkpoint", "EpochStore"], swiftSettings: settings),
    .testTarget(
      name: "CommandTests",
      dependencies: [
        "ckpt", "ControlAPI", "Checkpoint", "Scheduling", "DeviceMapper", "EpochStore", "CLinux",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "SignalsTests", dependencies: ["Signals", "Checkpoint", "DeviceMapper", "EpochStore", "Scheduling"],
      swiftSettings: settings),
    .testTarget(
      name: "ControlAPITests", dependencies: ["ControlAPI", "Checkpoint", "EpochStore"], swiftSettings: settings),
    .testTarget(
      name: "DaemonTests",
      dependencies: [
        "ckptd", "ckpt", "ControlAPI", "Checkpoint", "Scheduling", "EpochStore",
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "Logging", package: "swift-log"),
      ], swiftSettings: settings),
    .testTarget(
      name: "CheckpointTests",
      dependencies: ["Checkpoint", "DeviceMapper", "EpochStore", "MigrationStream", "Xen"], swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)
