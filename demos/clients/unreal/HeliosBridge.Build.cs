// HeliosBridge.Build.cs: the module's rules. Put helios_bridge.c and .h beside the component, and libzmq and msgpack-c
// (vcpkg: zeromq, msgpack) where the two paths say.
using System.IO;
using UnrealBuildTool;

public class HeliosBridge : ModuleRules
{
    public HeliosBridge(ReadOnlyTargetRules Target) : base(Target)
    {
        PCHUsage = PCHUsageMode.NoPCHs; // helios_bridge.c is C
        PublicDependencyModuleNames.AddRange(new[] { "Core", "CoreUObject", "Engine", "PhysicsCore" });
        string ThirdParty = Path.Combine(ModuleDirectory, "ThirdParty");
        PublicIncludePaths.Add(Path.Combine(ThirdParty, "include"));
        foreach (string Library in Directory.GetFiles(Path.Combine(ThirdParty, "lib")))
        {
            PublicAdditionalLibraries.Add(Library);
        }
    }
}
