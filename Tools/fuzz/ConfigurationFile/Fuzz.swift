import Support

@testable import Checkpoint

/// `ckpt.conf`.
@_cdecl("LLVMFuzzerInitialize")
public func begin(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> CInt {
  Fuzz.offer {
    [
      "# all\ntracking = auto\nstaging=128M\r\nstaging-full = spill # why\nmax-pause = 0.5\n",
      "precopy-small = 512\nprecopy-shrink = 0.7\nprecopy-rounds = 8\nprecopy-seconds = 6e1\nlimit-rate = 200M\n",
      "[guest db]\ntracking = per-take\n[guest web]\nlimit-rate = 1T\nmax-pause=3600\nstaging-full = abort",
    ].map { Array($0.utf8) }
  }
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func run(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let text = String(decoding: Fuzz.bytes(data, count), as: UTF8.self)
  do {
    let configuration = try Configuration(text: text, path: "ckpt.conf")
    for guest in ["", "db", "web", "db]"] {
      let options = configuration.options(for: guest)
      Fuzz.expect(options.stagingBytes >= 1 << 20 && options.mostPauseSeconds > 0, "\(options)")
    }
  } catch {
    Fuzz.expect(!error.description.contains("\n"), "a fault is one line: \(error)")
  }
  return 0
}
