import FoundationEssentials
import Support

@testable import EpochStore

/// What is remembered of a verification, its checksum put right.
@_cdecl("LLVMFuzzerInitialize")
public func begin(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> CInt {
  Fuzz.offer {
    let folder = FuzzStore.make()
    FuzzStore.publishFirst(folder)
    let methods: [VerifyMethod] = [.quick, .subset(0.05), .full]
    return methods.map { method in
      if method == .full { FuzzStore.write([], as: "00000001.epoch", of: folder) }
      guard (try? FolderVerifier(folder, method: method).verify(1)) != nil else { fatalError("cannot verify") }
      return Array(FuzzStore.read("00000001.verified", of: folder).dropLast(38))
    }
  }
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func run(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let sealed = ManifestFile.seal(Fuzz.bytes(data, count))
  guard let json = try? ManifestFile.unseal(sealed, path: "sealed"),
    let verdict = try? JSONDecoder().decode(EpochVerdict.self, from: json)
  else { return 0 }
  let quick = sealed.withUnsafeBytes { ManifestScanner.soundVerdict(of: $0) }
  Fuzz.expect(quick == nil || quick == verdict, "\(String(describing: quick))")
  Fuzz.expect(verdict.isDamaged == !verdict.damage.isEmpty, "damage that is told")
  guard let again = try? ManifestFile.sealed(verdict, name: "verdict"),
    let json = try? ManifestFile.unseal(again, path: "again")
  else { fatalError("what was read cannot be written") }
  Fuzz.expect((try? JSONDecoder().decode(EpochVerdict.self, from: json)) == verdict, "read again it is another")
  return 0
}
