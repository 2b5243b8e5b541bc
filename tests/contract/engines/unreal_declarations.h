// The few declarations of Unreal that the sample component uses, written by hand from its documentation, so that the
// sample compiles here and a slip in it shows. Nothing of this runs.
#pragma once
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <vector>

using int32 = int32_t;
using uint8 = uint8_t;
#define UCLASS(...)
#define UPROPERTY(...)
#define GENERATED_BODY() using Super = UActorComponent;
#define TEXT(text) text
#define UTF8_TO_TCHAR(text) (text)
#define LogTemp 0
void Log(const char*, ...);
#define UE_LOG(category, verbosity, ...) Log(__VA_ARGS__)

template <class T> struct TArray
{
    std::vector<T> Items;
    TArray() = default;
    TArray(const T* From, int32 Count) : Items(From, From + Count) {}
    void Reset() { Items.clear(); }
    int32 Num() const { return static_cast<int32>(Items.size()); }
    T& operator[](int32 Index) { return Items[static_cast<size_t>(Index)]; }
    T* GetData() { return Items.data(); }
    int32 Add(const T& Item) { Items.push_back(Item); return Num() - 1; }
    auto begin() { return Items.begin(); }
    auto end() { return Items.end(); }
    auto begin() const { return Items.begin(); }
    auto end() const { return Items.end(); }
};
struct FString
{
    FString(const char* Text = "");
    const char* operator*() const;
    bool RemoveFromStart(const char* Start);
};
struct FName { FString ToString() const; };
struct FTCHARToUTF8 { explicit FTCHARToUTF8(const char* Text); const char* Get() const; int32 Length() const; };
struct FVector
{
    double X, Y, Z;
    FVector(double A, double B, double C);
    explicit FVector(double All);
    FVector GetAbs() const;
    FVector operator*(const FVector& Other) const;
};
struct FQuat { double X, Y, Z, W; };
struct FTransform
{
    FTransform();
    explicit FTransform(const FVector& Translation);
    FTransform operator*(const FTransform& Other) const;
    FVector GetLocation() const;
    FQuat GetRotation() const;
    FVector GetScale3D() const;
    bool Equals(const FTransform& Other, float Tolerance = 1e-4f) const;
};
struct FMath
{
    static double Tan(double A);
    static double Atan(double A);
    static double DegreesToRadians(double A);
    static double RadiansToDegrees(double A);
};
namespace EEndPlayReason { enum Type { Destroyed }; }
enum ELevelTick { LEVELTICK_All };
enum ETickingGroup { TG_PostUpdateWork };
struct FActorComponentTickFunction { bool bCanEverTick; ETickingGroup TickGroup; };
namespace EComponentMobility { enum Type { Static, Movable }; }
struct UWorld {};
struct UActorComponent;
struct AActor
{
    template <class T> T* FindComponentByClass() const { return nullptr; }
    template <class T> void GetComponents(TArray<T*>&) const {}
};
struct UActorComponent
{
    FActorComponentTickFunction PrimaryComponentTick;
    virtual ~UActorComponent() = default;
    virtual void BeginPlay();
    virtual void EndPlay(const EEndPlayReason::Type Reason);
    virtual void TickComponent(float Seconds, ELevelTick Kind, FActorComponentTickFunction* Function);
    AActor* GetOwner() const;
    UWorld* GetWorld() const;
};
template <class T> struct TActorIterator
{
    explicit TActorIterator(UWorld* World);
    explicit operator bool() const;
    void operator++();
    T* operator->() const;
};
struct UPrimitiveComponent : UActorComponent
{
    TArray<FName> ComponentTags;
    EComponentMobility::Type Mobility;
    const FTransform& GetComponentTransform() const;
    bool IsVisible() const;
};
struct UCameraComponent : UActorComponent
{
    float FieldOfView, AspectRatio;
    FVector GetComponentLocation() const;
    FQuat GetComponentQuat() const;
};
struct FKBoxElem { float X, Y, Z; FTransform GetTransform() const; };
struct FKSphereElem { float Radius; FTransform GetTransform() const; };
struct FKSphylElem { float Radius, Length; FTransform GetTransform() const; };
struct FKAggregateGeom { TArray<FKBoxElem> BoxElems; TArray<FKSphereElem> SphereElems; TArray<FKSphylElem> SphylElems; };
struct UBodySetup { FKAggregateGeom AggGeom; };
struct UStaticMesh { UBodySetup* GetBodySetup() const; };
struct UStaticMeshComponent : UPrimitiveComponent { UStaticMesh* GetStaticMesh() const; };
enum EPixelFormat { PF_B8G8R8A8 };
enum { LOCK_READ_WRITE };
struct FByteBulkData { void* Lock(uint32_t Flags); void Unlock(); };
struct FTexture2DMipMap { FByteBulkData BulkData; };
struct FTexturePlatformData { TArray<FTexture2DMipMap> Mips; };
struct UTexture2D
{
    bool SRGB;
    static UTexture2D* CreateTransient(int32 Width, int32 Height, EPixelFormat Format);
    int32 GetSizeX() const;
    int32 GetSizeY() const;
    FTexturePlatformData* GetPlatformData();
    void UpdateResource();
};
