// HeliosBridgeComponent.cpp: Unreal's axes (x forward, y right, z up, left-handed, centimetres) go over as they are; the
// server converts.
#include "HeliosBridgeComponent.h"

#include "Camera/CameraComponent.h"
#include "Components/StaticMeshComponent.h"
#include "Engine/StaticMesh.h"
#include "Engine/Texture2D.h"
#include "EngineUtils.h"
#include "PhysicsEngine/BodySetup.h"

namespace
{
void Put(const FVector& From, double (&To)[3])
{
    To[0] = From.X;
    To[1] = From.Y;
    To[2] = From.Z;
}

void Put(const FQuat& From, double (&To)[4])
{
    To[0] = From.X;
    To[1] = From.Y;
    To[2] = From.Z;
    To[3] = From.W;
}

/** UCameraComponent's field of view is the horizontal one. */
double VerticalFovDegrees(double HorizontalDegrees, double Aspect)
{
    return FMath::RadiansToDegrees(2 * FMath::Atan(FMath::Tan(FMath::DegreesToRadians(HorizontalDegrees) / 2) / Aspect));
}
} // namespace

UHeliosBridgeComponent::UHeliosBridgeComponent()
{
    PrimaryComponentTick.bCanEverTick = true;
    PrimaryComponentTick.TickGroup = TG_PostUpdateWork; // the camera of this frame is known then
}

void UHeliosBridgeComponent::BeginPlay()
{
    Super::BeginPlay();
    Camera = GetOwner()->FindComponentByClass<UCameraComponent>();
    FTCHARToUTF8 Where(*Address);
    hb_options Options = {};
    Options.address = Where.Get();
    Options.name = "unreal";
    Options.axes = "unreal";
    Options.units_per_metre = 100;
    Options.credit = 4;
    Options.shared_memory = true;
    Client = hb_open(&Options);
    if (Client == nullptr)
    {
        UE_LOG(LogTemp, Error, TEXT("helios-bridge: %s"), UTF8_TO_TCHAR(hb_notice(nullptr)));
    }
}

void UHeliosBridgeComponent::EndPlay(const EEndPlayReason::Type Reason)
{
    hb_close(Client);
    Client = nullptr;
    Super::EndPlay(Reason);
}

void UHeliosBridgeComponent::TickComponent(float Seconds, ELevelTick Kind, FActorComponentTickFunction* Function)
{
    Super::TickComponent(Seconds, Kind, Function);
    if (Client == nullptr || Camera == nullptr)
    {
        return;
    }
    const unsigned Found = hb_poll(Client, 0);
    if ((Found & HB_OPENED) && !hb_get_welcome(Client)->resumed && bHandOverLevel)
    {
        HandOverLevel();
    }
    if (Found & HB_FRAME)
    {
        Show(*hb_newest_frame(Client));
    }
    if (Found & (HB_REFUSED | HB_BUSY | HB_LOST | HB_CLOSED))
    {
        UE_LOG(LogTemp, Warning, TEXT("helios-bridge: %s"), UTF8_TO_TCHAR(hb_notice(Client)));
    }
    FTCHARToUTF8 Words(*Action);
    hb_control Control = {};
    Put(Camera->GetComponentLocation(), Control.camera.position);
    Put(Camera->GetComponentQuat(), Control.camera.rotation);
    Control.camera.vertical_fov_deg = VerticalFovDegrees(Camera->FieldOfView, Camera->AspectRatio);
    Control.action = Words.Get();
    if (hb_send(Client, &Control) >= 0)
    {
        SendMoves();
    }
}

FString UHeliosBridgeComponent::MaterialOf(const UPrimitiveComponent* Component)
{
    for (const FName& Tag : Component->ComponentTags)
    {
        FString Name = Tag.ToString();
        if (Name.RemoveFromStart(TEXT("helios:")))
        {
            return Name;
        }
    }
    return TEXT("plaster");
}

void UHeliosBridgeComponent::HandOverLevel()
{
    Parts.Reset();
    MaterialNames.Reset();
    Moving.Reset();
    for (TActorIterator<AActor> Actor(GetWorld()); Actor; ++Actor)
    {
        TArray<UStaticMeshComponent*> Components;
        Actor->GetComponents(Components);
        for (const UStaticMeshComponent* Component : Components)
        {
            const UStaticMesh* Mesh = Component->GetStaticMesh();
            const UBodySetup* Body = Mesh == nullptr ? nullptr : Mesh->GetBodySetup();
            if (Body == nullptr || !Component->IsVisible())
            {
                continue;
            }
            for (const FKBoxElem& Box : Body->AggGeom.BoxElems)
            {
                Add(Component, HB_BOX, Box.GetTransform(), FVector(Box.X, Box.Y, Box.Z));
            }
            for (const FKSphereElem& Ball : Body->AggGeom.SphereElems)
            {
                Add(Component, HB_SPHERE, Ball.GetTransform(), FVector(2 * Ball.Radius));
            }
            for (const FKSphylElem& Capsule : Body->AggGeom.SphylElems) // along Z; Length is without the ends
            {
                const double Width = 2 * Capsule.Radius;
                Add(Component, HB_CYLINDER, Capsule.GetTransform(), FVector(Width, Width, Capsule.Length));
                for (const double End : {0.5, -0.5})
                {
                    const FTransform Cap(FVector(0, 0, End * Capsule.Length));
                    Add(Component, HB_SPHERE, Cap * Capsule.GetTransform(), FVector(Width));
                }
            }
        }
    }
    for (int32 Index = 0; Index < Parts.Num(); ++Index)
    {
        Parts[Index].material = MaterialNames[Index].GetData(); // only now: the arrays may have moved while they grew
    }
    hb_scene Scene = {};
    Scene.replace = true;
    Scene.seed = -1;
    Scene.add = Parts.GetData();
    Scene.add_count = Parts.Num();
    if (!hb_send_scene(Client, &Scene))
    {
        UE_LOG(LogTemp, Warning, TEXT("helios-bridge: the level of %d parts was not handed over"), Parts.Num());
    }
}

void UHeliosBridgeComponent::Add(
    const UPrimitiveComponent* Component, hb_shape Shape, const FTransform& Offset, const FVector& Size)
{
    const FTransform At = Offset * Component->GetComponentTransform();
    hb_part Part = {};
    Part.id = Parts.Num() + 1;
    Part.shape = Shape;
    Put(At.GetLocation(), Part.position);
    Put(At.GetRotation(), Part.rotation);
    Put(Size * At.GetScale3D().GetAbs(), Part.size);
    Part.colour[0] = Part.colour[1] = Part.colour[2] = 1;
    Parts.Add(Part);
    FTCHARToUTF8 Name(*MaterialOf(Component));
    MaterialNames.Add(TArray<char>(Name.Get(), Name.Length() + 1));
    if (Component->Mobility == EComponentMobility::Movable)
    {
        Moving.Add({Component, Offset, At, Part.id});
    }
}

void UHeliosBridgeComponent::SendMoves()
{
    Moves.Reset();
    for (FMoving& One : Moving)
    {
        const FTransform At = One.Offset * One.Component->GetComponentTransform();
        if (At.Equals(One.Last))
        {
            continue;
        }
        One.Last = At;
        hb_part_move Move = {};
        Move.id = One.Id;
        Put(At.GetLocation(), Move.position);
        Put(At.GetRotation(), Move.rotation);
        Moves.Add(Move);
    }
    if (Moves.Num() > 0)
    {
        hb_scene Scene = {};
        Scene.seed = -1;
        Scene.move = Moves.GetData();
        Scene.move_count = Moves.Num();
        hb_send_scene(Client, &Scene);
    }
}

void UHeliosBridgeComponent::Show(const hb_frame& Received)
{
    if (Frame == nullptr || Frame->GetSizeX() != Received.width || Frame->GetSizeY() != Received.height)
    {
        Frame = UTexture2D::CreateTransient(Received.width, Received.height, PF_B8G8R8A8);
        Frame->SRGB = true;
    }
    FTexture2DMipMap& Mip = Frame->GetPlatformData()->Mips[0];
    uint8* To = static_cast<uint8*>(Mip.BulkData.Lock(LOCK_READ_WRITE));
    const uint8* From = Received.pixels;
    for (int32 Pixel = 0; Pixel < Received.width * Received.height; ++Pixel, From += 3, To += 4)
    {
        To[0] = From[2];
        To[1] = From[1];
        To[2] = From[0];
        To[3] = 255;
    }
    Mip.BulkData.Unlock();
    Frame->UpdateResource();
}
