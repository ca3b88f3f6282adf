// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that `swift build` of the tree stays what it is. `./run` builds and runs it.
func fuzzer(_ name: String) -> Target {
  .executableTarget(
    name: name, dependencies: ["Support", .product(name: "Checkpoint", package: "ckpt")], path: name,
    swiftSettings: [.treatAllWarnings(as: .error), .unsafeFlags(["-parse-as-library"])])
}

let package = Package(
  name: "fuzz",
  dependencies: [.package(name: "ckpt", path: "../..")],
  targets: [
    .target(
      name: "Support", dependencies: [.product(name: "Checkpoint", package: "ckpt")], path: "Support",
      swiftSettings: [.treatAllWarnings(as: .error)]),
    fuzzer("Epoch"), fuzzer("Manifest"), fuzzer("Verdict"), fuzzer("Hashes"), fuzzer("Stream"), fuzzer("XLConfig"),
    fuzzer("ConfigurationFile"), fuzzer("Guest"), fuzzer("Bundle"),
  ],
  swiftLanguageModes: [.v6]
)
